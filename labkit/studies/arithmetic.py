"""Study 05: arithmetic as translation between characters and pictures, as in Report D."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from labkit.data.arithmetic import Glyphs, Queries, all_queries, glyphs, handwrite, held_out, sample
from labkit.data.splits import SPLITS
from labkit.models.classifier import Classifier
from labkit.models.seq2seq import Answer, AttentionSeq2Seq
from labkit.models.transformer import Transformer
from labkit.studies.drawn_arithmetic import (
    ImageToText,
    NamedTextToImage,
    StyledTextToImage,
    TextToImage,
)
from labkit.studies.seq2seq_training import (
    Pairs,
    Seq2SeqSettings,
    TextToText,
    generate_all,
    train_seq2seq,
)
from labkit.training.classify import predict


def by_query(queries: Queries, share: float = 0.2, seed: int = 0) -> Tensor:
    """Whether each query is held out, bool (N,), whatever its pair. It leaks: 26+14 gives 14+26."""
    return held_out(queries, share, seed, keys=torch.arange(len(queries)))


def by_operand(queries: Queries, operands: range) -> Tensor:
    """Whether each query has an operand in `operands`, such as range(40, 50); bool (N,)."""
    if not isinstance(operands, range):
        raise ValueError(f"operands must be a range, such as range(40, 50); got {operands!r}")
    return torch.isin(torch.stack([queries.a, queries.b]), torch.tensor(operands)).any(0)


@dataclass(frozen=True)
class Task:
    """Which queries there are, which of them are held out, and in which order their symbols stand.

    digits: of the longest operands; up to 3 all queries are listed and `split` says which are held
        out, more are drawn anew for every batch.
    width: places for an operand, if more than its digits, to ask a model for more than it learned.
    reverse: the query's last symbol first (Sutskever et al. 2014, sec. 3.3).
    units_first: the answer's last symbol first.
    """

    digits: int = 2
    width: int | None = None
    operators: str = "+-"
    split: Callable[[Queries], Tensor] = held_out
    reverse: bool = False
    units_first: bool = False

    def __post_init__(self):
        if self.places < self.digits:
            raise ValueError(f"{self.digits} digits need as many places, got width={self.width}")
        if not self.listed and self.split is not held_out:
            raise ValueError(f"queries of {self.digits} digits are drawn, not listed: no split")

    @property
    def listed(self) -> bool:
        return self.digits <= 3

    @property
    def places(self) -> int:
        return self.width or self.digits

    def sides(self, n: int = 10_000) -> tuple[Queries, Queries]:
        """The queries to train on and those held out: all, or `n` of each drawn with one seed."""
        if not self.listed:
            generator = torch.Generator().manual_seed(1_000_000)
            return tuple(self.fresh(n, generator, side) for side in SPLITS)
        queries = all_queries(self.digits, self.operators)
        out = self.split(queries)
        if out.all() or not out.any():
            raise ValueError(f"{self} leaves a side of the split empty")
        return tuple(replace(queries[side], digits=self.places) for side in (~out, out))

    def fresh(self, n: int, generator: torch.Generator, split: str = "train") -> Queries:
        """`n` random queries of one split by a hash of their pairs."""
        queries = sample(n, self.digits, self.operators, generator, split)
        return replace(queries, digits=self.places)

    def pairs(self, queries: Queries) -> Pairs:
        """What the model reads, (N, 2·places + 1), and writes, (N, places + 1)."""
        query, answer = queries.tokens(), queries.answers()
        return Pairs(
            query.flip(1) if self.reverse else query, answer.flip(1) if self.units_first else answer
        )


def fresh_pairs(n: int, generator: torch.Generator, task: Task) -> Pairs:
    """`n` new pairs of a task, to train on."""
    return task.pairs(task.fresh(n, generator))


@dataclass(frozen=True)
class ArithmeticRun:
    """One training run. variant: what is read and written, and by which model.

    data: the DataKey of MNIST, for variants of pictures. start: weights to begin with; they are
    part of the settings by their content.
    """

    variant: Any = TextToText()
    training: Seq2SeqSettings = Seq2SeqSettings()
    task: Task = Task()
    data: Any = None  # labkit.data.images.DataKey
    start: dict[str, Tensor] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self):
        pictures, kind = hasattr(self.variant, "glyphs"), type(self.variant).__name__
        if pictures != (self.data is not None):
            need = "needs data=, the key of MNIST" if pictures else "is of text: leave out data"
            raise ValueError(f"{kind} {need}")
        if isinstance(self.variant, TextToImage) and (self.task.reverse or self.task.units_first):
            raise ValueError(f"{kind} draws hundreds first: no reverse, no units_first")

    def with_training(self, **changes: Any) -> "ArithmeticRun":
        """The same run with other training settings, such as seed or epochs."""
        return replace(self, training=replace(self.training, **changes))

    def build(self) -> nn.Module:
        """The network before training, with what fits of `start`.

        Raises ValueError if a part that is not trained is missing in `start`, or most of it unused.
        """
        with torch.random.fork_rng():  # leaves the caller's generator alone
            torch.manual_seed(self.training.seed)
            network = self.variant.build(self.task.places + 1)
        start, ours, kind = self.start or {}, network.state_dict(), type(self.variant).__name__
        taken = {k: w for k, w in start.items() if k in ours and ours[k].shape == w.shape}
        for name, parameter in network.named_parameters():
            if not parameter.requires_grad and name not in taken:
                raise ValueError(f"{kind} does not train {name}: give start=, with it")
        if len(taken) < len(start) / 2:
            raise ValueError(f"start has little in common with {kind}: give a model like it")
        network.load_state_dict({**ours, **taken})
        return network

    def trained(self, result: dict[str, Any]) -> nn.Module:
        """The network of a finished run, on the CPU, in eval mode."""
        network = self.build()
        network.load_state_dict(result["network"])
        return network.eval()


# What each variant needs to learn its task on one core.
LSTM = ArithmeticRun()
ATTENTION = ArithmeticRun(TextToText(AttentionSeq2Seq), Seq2SeqSettings(epochs=14, lr=0.01))
TRANSFORMER = ArithmeticRun(TextToText(Transformer), Seq2SeqSettings(epochs=14, lr=0.003))


def image_to_text(data: Any, start: dict[str, Tensor] | None = None) -> ArithmeticRun:
    """A run of ImageToText; start: the weights of a text→text LSTM, which can calculate."""
    training = Seq2SeqSettings(epochs=5.5, lr=0.004, batch_size=64)
    return ArithmeticRun(ImageToText(), training, data=data, start=start)


def text_to_image(data: Any) -> ArithmeticRun:
    """A run of TextToImage, the report's way."""
    return ArithmeticRun(TextToImage(), Seq2SeqSettings(epochs=8, lr=0.01), data=data)


def named_text_to_image(data: Any, start: dict[str, Tensor]) -> ArithmeticRun:
    """A run of NamedTextToImage; start: the weights of a text→text LSTM."""
    training = Seq2SeqSettings(epochs=2, lr=0.005)
    return ArithmeticRun(NamedTextToImage(), training, data=data, start=start)


def styled_text_to_image(data: Any, start: dict[str, Tensor]) -> ArithmeticRun:
    """A run of StyledTextToImage; start: the weights of a text→text LSTM."""
    training = Seq2SeqSettings(epochs=3, lr=0.005)
    return ArithmeticRun(StyledTextToImage(), training, data=data, start=start)


def run(
    settings: ArithmeticRun, checkpoint: str | os.PathLike | None = None, show: bool = False
) -> dict[str, Any]:
    """Train; returns {"network": weights, "history": rows}, as train_seq2seq."""
    task, variant = settings.task, settings.variant
    train, test = task.sides()
    if settings.data is not None:
        images = settings.data.load()
        variant = replace(variant, glyphs=(glyphs(images, "train"), glyphs(images, "test")))
    pairs = task.pairs(train) if task.listed else partial(fresh_pairs, task=task)
    network, held_out_pairs = settings.build(), task.pairs(test)
    return train_seq2seq(
        network, variant, pairs, held_out_pairs, settings.training, checkpoint, show
    )


def answer_queries(
    network: nn.Module,
    queries: Queries,
    task: Task = Task(),
    bank: Glyphs | None = None,
    seed: int = 0,
) -> Answer:
    """Greedy answers; answer and query (in the weights) stand hundreds first, whatever the task.

    With a bank, the queries are shown as pictures from it, chosen by `seed`.
    """
    shown = task.pairs(queries).query
    if bank:
        shown = handwrite(shown, bank, torch.Generator().manual_seed(seed))
    answer = generate_all(network, shown)
    if task.units_first:
        answer = Answer(*(None if part is None else part.flip(1) for part in answer))
    if task.reverse and answer.weights is not None:
        answer = answer._replace(weights=answer.weights.flip(2))
    return answer


@torch.no_grad()
def draw_answers(network: nn.Module, queries: Queries, seed: int = 0, **how: Any) -> Tensor:
    """The pictures, uint8 (N, T, 1, 28, 28), that a text→image model answers with, in eval mode.

    seed: of the styles. how: what else the model takes, such as temperature=0.5.
    """
    device = next(network.parameters()).device
    network.eval()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        parts = [network(part.to(device), **how) for part in queries.tokens().split(500)]
    return (255 * torch.cat(parts).float().cpu()).round().to(torch.uint8)


def classify_symbols(classifier: Classifier, pictures: Tensor) -> Tensor:
    """The symbols (N, T) that a classifier of the 13 sees in pictures (N, T, 1, 28, 28)."""
    return predict(classifier, pictures.flatten(0, 1)).argmax(1).unflatten(0, pictures.shape[:2])
