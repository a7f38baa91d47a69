"""Training models that read one sequence and write another, and asking them for their answers.

What is read, what is written and what is minimised is a variant: an object with build, batch, loss
and score. TextToText is here; those that read or write pictures are in labkit.studies.arithmetic.
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
    """epochs, or steps, of AdamW on a one-cycle schedule (Smith & Topin 2019) up to the rate lr.

    log_every: steps between two rows of the history. device: what to compute on.
    """

    epochs: float = 18
    lr: float = 0.02
    batch_size: int = 128
    weight_decay: float = 0.1
    seed: int = 0
    steps: int | None = None
    log_every: int = 125
    device: str = "cpu"


@dataclass(frozen=True)
class TextToText:
    """Tokens to tokens by `model`: Seq2Seq, AttentionSeq2Seq, Transformer, or a partial of one."""

    model: Callable[..., nn.Module] = Seq2Seq

    def build(self, answer_length: int) -> nn.Module:
        return self.model(answer_length)

    def batch(self, pairs: Pairs, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """What the model is shown and what it is to write."""
        return pairs.query, pairs.answer

    def loss(
        self, network: nn.Module, shown: Tensor, target: Tensor, query: Tensor, generator: Any
    ) -> Tensor:
        """Mean cross-entropy of the symbols in nats. query: the tokens of what is shown."""
        logits = network(shown, target).float()
        return F.cross_entropy(logits.flatten(0, 1), target.flatten())

    def score(self, network: nn.Module, pairs: Pairs) -> dict[str, float]:
        """Exact match and the share of right characters of the greedy answers, in [0, 1]."""
        tokens = generate_all(network, pairs.query).tokens
        return {
            "exact": exact_match(tokens, pairs.answer),
            "characters": per_character(tokens, pairs.answer),
        }


def train_seq2seq(
    variant: Any,
    train: Pairs | Callable[[int, torch.Generator], Pairs],
    held_out: Pairs,
    settings: Seq2SeqSettings = Seq2SeqSettings(),
    start: dict[str, Tensor] | None = None,
    checkpoint: str | os.PathLike | None = None,
    show: bool = False,
) -> dict[str, Any]:
    """Train a variant with AdamW on a one-cycle schedule, gradients clipped at norm 1.

    train: pairs, or a function (n, generator) that draws n new ones for each batch; then
    settings.steps are needed. start: weights that are taken over wherever name and shape agree.
    Returns {"network": weights, "history": rows with step, training loss and the score on about
    1,000 held-out pairs}. The score is for the curve alone: nothing is stopped by it.
    """
    s, fresh = settings, callable(train)
    if fresh and not s.steps:
        raise ValueError("pairs are drawn anew for every batch: give steps, e.g. steps=3000")
    network = _begin(variant, held_out.answer.shape[1], s.seed, start).to(s.device)
    batch_size = s.batch_size if fresh else min(s.batch_size, len(train.query))
    steps = s.steps or max(1, round(s.epochs * len(train.query) / batch_size))
    generator = torch.Generator().manual_seed(s.seed)
    trained = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=s.lr, betas=(0.9, 0.98), weight_decay=s.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, s.lr, total_steps=max(steps + 1, 6), pct_start=0.2
    )
    every = max(1, len(held_out.query) // 1000) | 1  # odd: sums and differences take turns
    probe = Pairs(*(part[::every] for part in held_out))
    state = {"network": network, "updates": optimizer, "schedule": schedule, "draws": generator}
    facts = (variant, train, held_out, settings, start)
    loop = Loop(steps, state, checkpoint=checkpoint, facts=facts, desc=str(variant), show=show)
    for step in loop:
        network.train()
        if fresh:
            pairs = train(batch_size, generator)
        else:
            chosen = batch_of(step, len(train.query), batch_size, s.seed)
            pairs = Pairs(train.query[chosen], train.answer[chosen])
        shown, target, query = (
            part.to(s.device) for part in (*variant.batch(pairs, generator), pairs.query)
        )
        with autocast(s.device):
            loss = variant.loss(network, shown, target, query, generator)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % s.log_every == 0 or step + 1 == steps:
            loop.log(train_loss=loss.item(), **variant.score(network, probe))
    weights = {name: value.cpu() for name, value in network.state_dict().items()}
    return {"network": weights, "history": loop.history}


def _begin(
    variant: Any, answer_length: int, seed: int, start: dict[str, Tensor] | None
) -> nn.Module:
    with torch.random.fork_rng():  # leaves the caller's generator alone
        torch.manual_seed(seed)
        network = variant.build(answer_length)
    ours = network.state_dict()
    taken = {k: w for k, w in (start or {}).items() if k in ours and ours[k].shape == w.shape}
    frozen = [name for name, p in network.named_parameters() if not p.requires_grad]
    lacking = [name for name in frozen if name not in taken]
    if lacking:
        raise ValueError(
            f"{variant} does not train {lacking[0]}: give start=, weights that hold it"
        )
    if start and len(taken) < len(start) / 2:
        raise ValueError(f"start has little in common with {variant}: give a model like it")
    network.load_state_dict({**ours, **taken})
    return network


@torch.no_grad()
def generate_all(network: nn.Module, query: Tensor) -> Answer:
    """Greedy answers to tokens (N, L) or pictures (N, L, 1, 28, 28), in eval mode, on the CPU."""
    device = next(network.parameters()).device
    network.eval()
    parts = [network.generate(part.to(device)) for part in query.split(500)]
    return Answer(
        *(None if part[0] is None else torch.cat(part).cpu() for part in zip(*parts, strict=True))
    )
