"""Training sequence-to-sequence models on arithmetic. The model's name decides what is read and
written, characters or pictures; a Task says which queries there are, which of them are held out,
and in which order their symbols stand.
"""

import contextlib
import os
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.data import images
from labkit.data.arithmetic import Glyphs, Queries, all_queries, draw, glyphs, sample, split
from labkit.metrics.answers import exact_match, per_character
from labkit.models.classifier import Classifier
from labkit.models.seq2seq import (
    SYMBOLS,
    Answer,
    AttentionSeq2Seq,
    Decide,
    GlyphDecoder,
    GlyphEncoder,
    NamedSeq2Seq,
    OneHot,
    Seq2Seq,
    StyledSeq2Seq,
)
from labkit.models.transformer import Transformer
from labkit.profile import autocast
from labkit.training.classify import predict, shift
from labkit.training.loop import Loop, batch_of

RECIPES = {  # what each needs to learn its task on one core; batches of 128 unless said; the rest of the recipe is in `train`
    "text→text": dict(epochs=18, lr=0.02),
    "attention": dict(epochs=14, lr=0.01),
    "Transformer": dict(epochs=14, lr=0.003),
    "image→text": dict(epochs=5.5, lr=0.004, batch_size=64),
    "text→image": dict(epochs=8, lr=0.01),
    "text→image, named": dict(epochs=2, lr=0.005),
    "text→image, styled": dict(epochs=3, lr=0.005),
}


@dataclass(frozen=True)
class Task:
    """Which queries, and how they are written.

    digits: of the longest operands; up to 3 all queries are listed, more are drawn anew for every
    batch. width: places for an operand, if more than its digits, to ask a model for more than it
    was taught. by, held_out: as labkit.data.arithmetic.split takes them, a range as [from, to].
    reverse: the query's last symbol first (Sutskever et al. 2014, sec. 3.3). units_first: the
    answer's last symbol first.
    """

    digits: int = 2
    width: int | None = None
    operators: str = "+-"
    by: str = "pair"
    held_out: float | list[int] = 0.2
    reverse: bool = False
    units_first: bool = False

    def __post_init__(self):
        if self.places < self.digits:
            raise ValueError(
                f"operands of {self.digits} digits need as many places, got width={self.width}"
            )
        if not self.listed and (self.by, self.held_out) != ("pair", 0.2):
            raise ValueError(
                f'queries of {self.digits} digits are drawn, not listed: only by="pair" and held_out=0.2 can be had there'
            )

    @property
    def listed(self) -> bool:
        return self.digits <= 3

    @property
    def places(self) -> int:
        return self.width or self.digits

    def sides(self, n: int = 10_000) -> tuple[Queries, Queries]:
        """The queries to train on and those held out: all there are, or `n` of each drawn with a
        fixed seed.
        """
        if self.listed:
            queries = all_queries(self.digits, self.operators)
            out = (
                range(*self.held_out) if isinstance(self.held_out, list | tuple) else self.held_out
            )
            sides = [queries[side] for side in split(queries, out, by=self.by)]
        else:
            sides = [
                self.fresh(n, torch.Generator().manual_seed(1_000_000), side)
                for side in ("train", "held_out")
            ]
        return tuple(replace(queries, digits=self.places) for queries in sides)

    def fresh(self, n: int, generator: torch.Generator, side: str = "train") -> Queries:
        """`n` random queries of one side of the split by pairs."""
        return replace(sample(n, self.digits, self.operators, generator, side), digits=self.places)

    def query(self, queries: Queries) -> Tensor:
        """What the model reads, int64 (N, 2·places + 1)."""
        return queries.tokens().flip(1) if self.reverse else queries.tokens()

    def answer(self, queries: Queries) -> Tensor:
        """What it writes, int64 (N, places + 1)."""
        return queries.answers().flip(1) if self.units_first else queries.answers()


def build(model: str, digits: int = 2) -> nn.Module:
    """The network called `model`, a key of RECIPES, for operands of `digits` places. Raises
    ValueError for another name.
    """
    length = dict(answer_length=digits + 1)
    if model == "text→text":
        return Seq2Seq(OneHot(), nn.Linear(256, SYMBOLS), **length)
    if model == "attention":
        return AttentionSeq2Seq(OneHot(), **length)
    if model == "Transformer":
        return Transformer(query_length=2 * digits + 1, **length)
    if model == "image→text":
        # each picture becomes what OneHot makes of a symbol, so that the LSTMs can begin as those
        # of a text→text model
        return Seq2Seq(
            nn.Sequential(GlyphEncoder(SYMBOLS), Decide()), nn.Linear(256, SYMBOLS), **length
        )
    if model == "text→image":
        return Seq2Seq(OneHot(), GlyphDecoder(256), **length)
    if model == "text→image, named":
        return NamedSeq2Seq(**length)
    if model == "text→image, styled":
        return StyledSeq2Seq(**length)
    raise ValueError(f"model must be one of {', '.join(map(repr, RECIPES))}, got {model!r}")


def train(
    model: str = "text→text",
    seed: int = 0,
    epochs: float | None = None,
    lr: float | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    weight_decay: float = 0.1,
    size: list[int] | None = None,
    start: dict[str, Tensor] | str | os.PathLike | None = None,
    freeze: tuple[str, ...] = (),
    told: bool = True,
    log_every: int = 125,
    device: str = "cpu",
    checkpoint: str | os.PathLike | None = None,
    show: bool = False,
    **task: Any,
) -> dict[str, Any]:
    """Train `model` with AdamW on a one-cycle schedule (Smith & Topin 2019), gradients clipped at
    norm 1; `task` are fields of Task.

    epochs, lr, batch_size: by default those of RECIPES; steps: instead of epochs, and needed where
    queries are drawn anew. size: take only the first (train, test) digits, for models of pictures.
    start: a state dict, or a file that holds one, whose parts are taken over wherever name and
    shape are the same; the models that draw what they name need that of a text→text model. freeze:
    parts that are not trained, such as ["encoder", "decoder"]. told: whether an image→text model
    also learns from what its pictures show, not from the answers alone. Returns {"network" weights,
    "history" rows with step, training loss, and for text the exact match and the share of right
    characters on about 1,000 held-out queries}. Those are for the curve alone: nothing is stopped
    by them.
    """
    if model in ("text→image, named", "text→image, styled") and not start:
        raise ValueError(
            f"{model!r} draws what a text→text model names; give start=, the weights of one"
        )
    setting = Task(**task)
    if not setting.listed and not steps:
        raise ValueError(
            f"queries of {setting.digits} digits are drawn anew for every batch: say for how many steps, e.g. steps=3000"
        )
    if "→image" in model and (setting.reverse or setting.units_first):
        raise ValueError(
            f"{model} writes as it reads, hundreds first: leave out reverse and units_first"
        )
    train_set, test_set = setting.sides()
    bank, test_bank = banks(size) if "image" in model else (None, None)
    network = _begin(model, setting.places, seed, start).to(device)
    for part in freeze:
        network.get_submodule(part).requires_grad_(False)
    recipe = RECIPES[model]
    lr, batch_size = (
        lr or recipe["lr"],
        min(batch_size or recipe.get("batch_size", 128), len(train_set)),
    )
    steps = steps or max(1, round((epochs or recipe["epochs"]) * len(train_set) / batch_size))
    generator = torch.Generator().manual_seed(seed)
    updates = torch.optim.AdamW(
        [p for p in network.parameters() if p.requires_grad],
        lr=lr,
        betas=(0.9, 0.98),
        weight_decay=weight_decay,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        updates, lr, total_steps=max(steps + 1, 6), pct_start=0.2
    )
    state = {"network": network, "updates": updates, "schedule": schedule, "generator": generator}
    settings = dict(
        model=model,
        seed=seed,
        lr=lr,
        batch_size=batch_size,
        weight_decay=weight_decay,
        size=size,
        freeze=freeze,
        told=told,
        start=sum(w.double().sum().item() for w in network.state_dict().values())
        if start
        else None,
        **task,
    )
    queries, answers = setting.query(train_set), setting.answer(train_set)
    probe = test_set[
        slice(None, None, max(1, len(test_set) // 1000) | 1)
    ]  # odd, for sums and differences take turns
    loop = Loop(steps, state, checkpoint, settings, f"{model}, seed {seed}", show)
    for step in loop:
        network.train()
        if setting.listed:
            batch = batch_of(step, len(queries), batch_size, seed)
            query, answer = queries[batch], answers[batch]
        else:
            drawn = setting.fresh(batch_size, generator)
            query, answer = setting.query(drawn), setting.answer(drawn)
        shown, target = pictured(model, query, answer, bank, generator)
        with autocast(device):
            loss = loss_of(
                model,
                network,
                shown.to(device),
                target.to(device),
                query.to(device) if told else None,
                generator,
            )
        updates.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        updates.step()
        schedule.step()
        if (step + 1) % log_every == 0 or step + 1 == steps:
            row = {} if "→image" in model else scores(network, probe, setting, test_bank)
            loop.log(train_loss=loss.item(), **row)
    return {
        "network": {name: value.cpu() for name, value in network.state_dict().items()},
        "history": loop.history,
    }


def _begin(
    model: str, digits: int, seed: int, start: dict[str, Tensor] | str | os.PathLike | None
) -> nn.Module:
    with torch.random.fork_rng():  # leaves the caller's generator alone
        torch.manual_seed(seed)
        network = build(model, digits)
    if start:
        theirs, ours = (
            start if isinstance(start, dict) else torch.load(start, weights_only=True),
            network.state_dict(),
        )
        taken = {
            name: w for name, w in theirs.items() if name in ours and ours[name].shape == w.shape
        }
        kept = (
            ("encoder.", "decoder.", "writer.") if isinstance(network, NamedSeq2Seq) else ()
        )  # what is not trained must all be given
        lacking = [name for name in ours if name.startswith(kept) and name not in taken]
        if not taken or lacking:
            parts = (
                f"lacks {lacking[0]}, which {model!r} needs"
                if lacking
                else f"has no part in common with {model!r}"
            )
            raise ValueError(
                f"start {parts} for {digits} digits; give the weights of a model like it, such as text→text"
            )
        network.load_state_dict({**ours, **taken})
    return network


def pictured(
    model: str, query: Tensor, answer: Tensor, bank: Glyphs | None, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Tokens as what `model` reads and writes: new pictures from the bank at every call, those to
    be read moved by up to 2 pixels.
    """
    if model.startswith("image"):
        query = shift(draw(query, bank, generator).flatten(0, 1), 2, generator).unflatten(
            0, query.shape
        )
    if "→image" in model:
        answer = draw(answer, bank, generator) / 255
    return query, answer


def loss_of(
    model: str,
    network: nn.Module,
    query: Tensor,
    target: Tensor,
    symbols: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """What training minimises: mean cross-entropy of the symbols in nats, mean squared error of the
    pixels, or −ELBO in nats a pixel.

    symbols: what the pictures of an image→text model show, int64 (N, L); then the cross-entropy of
    what it reads is added.
    generator: of the noise in −ELBO.
    """
    if model == "image→text" and symbols is not None:
        see, decide = network.reader
        seen = see(query).float()
        logits = network.writer(network.hidden(decide(seen))).float()
        return F.cross_entropy(logits.flatten(0, 1), target.flatten()) + F.cross_entropy(
            seen.flatten(0, 1), symbols.flatten()
        )
    if model in ("text→image", "text→image, named"):
        return F.mse_loss(network(query).float(), target)
    if model == "text→image, styled":
        return network.elbo(query, target, generator).negative.mean() / target[0, 0].numel()
    logits = network(query, target).float()
    return F.cross_entropy(logits.flatten(0, 1), target.flatten())


def banks(size: list[int] | None = None) -> tuple[Glyphs, Glyphs]:
    """The handwritten symbols to train on and those to test with."""
    with contextlib.redirect_stdout(None):  # the lab has said where its digits come from
        digits = images.load("mnist", tuple(size) if size else None)
    return glyphs(digits, "train"), glyphs(digits, "test")


def scores(
    network: nn.Module, queries: Queries, task: Task, bank: Glyphs | None = None
) -> dict[str, float]:
    """Exact match and the share of right characters on `queries`, in [0, 1]."""
    tokens, answers = answer_all(network, queries, task, bank).tokens, queries.answers()
    return {"exact": exact_match(tokens, answers), "characters": per_character(tokens, answers)}


@torch.no_grad()
def answer_all(
    network: nn.Module,
    queries: Queries,
    task: Task | None = None,
    bank: Glyphs | None = None,
    seed: int = 0,
) -> Answer:
    """Greedy answers, in eval mode and full precision; answer and query (in the weights) stand
    hundreds first, whatever the task's order. With a bank, the queries are shown as pictures from
    it, chosen by `seed`.
    """
    task = task or Task()
    tokens, device = task.query(queries), next(network.parameters()).device
    query = draw(tokens, bank, torch.Generator().manual_seed(seed)) if bank else tokens
    network.eval()
    parts = [network.answer(part.to(device)) for part in query.split(500)]
    whole = (
        None if part[0] is None else torch.cat(part).cpu() for part in zip(*parts, strict=True)
    )
    answer = Answer(
        *(part.flip(1) if task.units_first and part is not None else part for part in whole)
    )
    return (
        answer._replace(weights=answer.weights.flip(2))
        if task.reverse and answer.weights is not None
        else answer
    )


@torch.no_grad()
def write_all(network: nn.Module, queries: Queries, seed: int = 0, **how: Any) -> Tensor:
    """The pictures, uint8 (N, T, 1, 28, 28), that a text→image model answers with, in eval mode;
    styles by `seed`; how: "temperature".
    """
    device = next(network.parameters()).device
    network.eval()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        pictures = torch.cat(
            [network(part.to(device), **how).float().cpu() for part in queries.tokens().split(500)]
        )
    return (255 * pictures).round().to(torch.uint8)


def read(classifier: Classifier, pictures: Tensor) -> Tensor:
    """What the classifier of the 13 symbols reads in pictures (N, T, 1, 28, 28); tokens int64 (N,
    T).
    """
    return predict(classifier, pictures.flatten(0, 1)).argmax(1).unflatten(0, pictures.shape[:2])
