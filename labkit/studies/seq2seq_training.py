"""Training models that read one sequence and write another, and asking them for their answers.

What is read, what is written and what is minimised is a variant: an object with build, batch, loss
and score. TextToText is here; those that read or write pictures are in drawn_arithmetic.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.metrics.answers import exact_match, per_character
from labkit.models.seq2seq import Answer, Seq2Seq
from labkit.profile import autocast
from labkit.training.batches import batch_of
from labkit.training.loop import Loop


class Pairs(NamedTuple):
    """Queries (N, L) and their answers (N, T), int64 tokens."""

    query: Tensor
    answer: Tensor


@dataclass(frozen=True)
class Seq2SeqSettings:
    """AdamW for so many epochs, or steps if given, on a one-cycle schedule up to the rate `lr`."""

    epochs: float = 18
    lr: float = 0.02
    batch_size: int = 128
    weight_decay: float = 0.1
    seed: int = 0
    steps: int | None = None
    log_every: int = 125  # steps between two rows of the history
    device: str = "cpu"


@dataclass(frozen=True)
class TextToText:
    """Tokens to tokens by `model`: Seq2Seq, AttentionSeq2Seq, Transformer, or a partial of one."""

    model: Callable[..., nn.Module] = Seq2Seq

    def build(self, answer_length: int) -> nn.Module:
        return self.model(answer_length)

    def batch(self, pairs: Pairs, generator: torch.Generator) -> Pairs:
        """What the model is shown and what it is to write."""
        return pairs

    def loss(
        self, network: nn.Module, shown: Tensor, target: Tensor, query: Tensor, generator: Any
    ) -> Tensor:
        """Mean cross-entropy of the symbols in nats. query: the tokens of what is shown."""
        logits = network(shown, target).float()
        return F.cross_entropy(logits.flatten(0, 1), target.flatten())

    def score(self, network: nn.Module, pairs: Pairs) -> dict[str, float]:
        """Exact match and the share of right characters of the greedy answers, in [0, 1]."""
        tokens, answers = generate_all(network, pairs.query).tokens, pairs.answer
        return {"exact": exact_match(tokens, answers), "characters": per_character(tokens, answers)}


def train_seq2seq(
    network: nn.Module,
    variant: Any,
    train: Pairs | Callable[[int, torch.Generator], Pairs],
    held_out: Pairs,
    settings: Seq2SeqSettings = Seq2SeqSettings(),
    checkpoint: str | os.PathLike | None = None,
    show: bool = False,
) -> dict[str, Any]:
    """Train `network` as a variant says, with AdamW on a one-cycle schedule (Smith & Topin 2019).

    train: pairs, or a function (n, generator) that draws new ones; then settings.steps are needed.
    Returns {"network": weights, "history": rows with step, training loss and the score on about
    1,000 held-out pairs}. The score is for the curve alone: nothing is stopped by it.
    """
    device, generator = settings.device, torch.Generator().manual_seed(settings.seed)
    network.to(device)
    draw, steps = _batches(train, settings, generator)
    trained = [p for p in network.parameters() if p.requires_grad]
    lr, decay = settings.lr, settings.weight_decay
    optimizer = torch.optim.AdamW(trained, lr=lr, betas=(0.9, 0.98), weight_decay=decay)
    total = max(steps + 1, 6)  # the schedule cannot do with fewer
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total, pct_start=0.2)
    every = max(1, len(held_out.query) // 1000) | 1  # odd: sums and differences take turns
    probe = Pairs(*(part[::every] for part in held_out))
    state = {"network": network, "updates": optimizer, "schedule": schedule, "draws": generator}
    facts, kind = (variant, train, held_out, settings), type(variant).__name__
    loop = Loop(steps, state, checkpoint=checkpoint, facts=facts, desc=kind, show=show)
    for step in loop:
        network.train()
        pairs = draw(step)
        shown, target = variant.batch(pairs, generator)
        batch = shown.to(device), target.to(device), pairs.query.to(device)
        with autocast(device):
            loss = variant.loss(network, *batch, generator)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % settings.log_every == 0 or step + 1 == steps:
            loop.log(train_loss=loss.item(), **variant.score(network, probe))
    weights = {name: value.cpu() for name, value in network.state_dict().items()}
    return {"network": weights, "history": loop.history}


def _batches(train: Any, settings: Seq2SeqSettings, generator: torch.Generator) -> tuple:
    """A function from the step to its pairs, and the number of steps."""
    if callable(train):
        if not settings.steps:
            raise ValueError("pairs are drawn anew for every batch: give steps, e.g. steps=3000")
        return lambda step: train(settings.batch_size, generator), settings.steps
    n = len(train.query)
    batch_size = min(settings.batch_size, n)

    def draw(step: int) -> Pairs:
        chosen = batch_of(step, n, batch_size, settings.seed)
        return Pairs(train.query[chosen], train.answer[chosen])

    return draw, settings.steps or max(1, round(settings.epochs * n / batch_size))


@torch.no_grad()
def generate_all(network: nn.Module, query: Tensor) -> Answer:
    """Greedy answers to tokens (N, L) or pictures (N, L, 1, 28, 28), in eval mode, on the CPU."""
    device = next(network.parameters()).device
    network.eval()
    parts = zip(*(network.generate(part.to(device)) for part in query.split(500)), strict=True)
    return Answer(*(None if part[0] is None else torch.cat(part).cpu() for part in parts))
