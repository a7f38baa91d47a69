"""Lab 06: tell a model what to draw. Where the label enters, what to ask for, and PCA by hand."""

import copy
import functools
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.exercises.core import Exercise, Function, Mistake, Observation


def _same(values: Tensor) -> Tensor:
    return values


def _alone(task: Exercise, sentence: str, **switches: Any) -> None:
    """A mistake that is not tried together with others, which would take too long."""
    name = ", ".join(f"{key}={value.__name__}" for key, value in switches.items())
    task.mistakes.append(Mistake(name, sentence, functools.partial(task.reference, **switches)))


def _number(value: Any) -> Any:
    """A returned value as a number, if it is one; else the kind of thing that it is."""
    if isinstance(value, Tensor):
        return float(value) if value.numel() == 1 else f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, np.ndarray | np.generic):
        return float(value) if value.size == 1 else f"a NumPy array of shape {value.shape}"
    return float(value) if isinstance(value, float | int) else type(value).__name__


def _kind(value: Any) -> str:
    """What a value is, in words."""
    if isinstance(value, tuple | list):
        return f"{len(value)} values"
    if value is None:
        return "None (is there a `return`?)"
    if isinstance(value, Tensor):
        return f"one tensor of shape {tuple(value.shape)}"
    return type(value).__name__


# ── with_one_hot(x, y, classes=10) → (N, M + classes) ──


def one_hot(y: Tensor, classes: int) -> Tensor:
    return F.one_hot(y, classes).float()


def _flat(x: Tensor) -> Tensor:
    return x.flatten(1)


def _beside(x: Tensor, row: Tensor) -> Tensor:
    return torch.cat([x, row], 1)


def _with_one_hot(
    x: Tensor, y: Tensor, classes: int = 10, *, row=one_hot, flat=_flat, join=_beside
) -> Tensor:
    return join(flat(x), row(y, classes))


with_one_hot = Exercise(
    "with_one_hot",
    _with_one_hot,
    probes=[
        lambda g: (torch.randn(3, 4, generator=g), torch.tensor([2, 0, 2]), 4),
        lambda g: (torch.randn(5, 1, 2, 3, generator=g), torch.tensor([6, 1, 3, 0, 1]), 7),
    ],
    points=2,
    right="Both networks of your first conditional GAN get their label from it. Notice that the 1"
    " selects a column of weights of the next layer: each class has a vector of its own there.",
    hints=(
        "Three steps: flatten x to (N, M), make the rows of the labels, (N, classes), and put the"
        " two side by side.",
        "F.one_hot(y, classes) makes the rows. Pass classes: a batch need not contain all of them.",
        "The batch is kept by x.flatten(1); torch.cat([a, b], 1) joins columns; .float() makes real"
        " numbers of whole ones.",
    ),
)


def label_as_number(y: Tensor, classes: int) -> Tensor:
    return y[:, None].float()


def label_as_share(y: Tensor, classes: int) -> Tensor:
    return y[:, None] / (classes - 1)


def label_over_classes(y: Tensor, classes: int) -> Tensor:
    return y[:, None] / classes


def as_many_as_in_the_batch(y: Tensor, classes: int) -> Tensor:
    return F.one_hot(y).float()


def one_column_on(y: Tensor, classes: int) -> Tensor:
    return one_hot((y + 1) % classes, classes)


def one_column_before(y: Tensor, classes: int) -> Tensor:
    return one_hot((y - 1) % classes, classes)


def from_the_right(y: Tensor, classes: int) -> Tensor:
    return one_hot(y, classes).flip(1)


def by_position(y: Tensor, classes: int) -> Tensor:
    return one_hot(torch.arange(len(y)) % classes, classes)


def first_label_for_all(y: Tensor, classes: int) -> Tensor:
    return one_hot(y[:1].expand(len(y)), classes)


def always_zero(y: Tensor, classes: int) -> Tensor:
    return torch.zeros(len(y), classes)


def always_one(y: Tensor, classes: int) -> Tensor:
    return torch.ones(len(y), classes)


def every_label_in_every_row(y: Tensor, classes: int) -> Tensor:
    row = torch.zeros(len(y), classes)
    row[:, y] = 1
    return row


def always_ten(y: Tensor, classes: int) -> Tensor:
    return one_hot(y, max(10, classes))


def thermometer(y: Tensor, classes: int) -> Tensor:
    return (torch.arange(classes) <= y[:, None]).float()


def number_in_its_column(y: Tensor, classes: int) -> Tensor:
    return one_hot(y, classes) * y[:, None]


for function, sentence in (
    (
        label_as_number,
        "The label enters as one number. Then a 9 pushes nine times as hard as a 1, and a 4 lies"
        " between a 3 and a 5; but classes are names and have no order.",
    ),
    (
        label_as_share,
        "The label enters as one number between 0 and 1. That still gives the classes an order,"
        " and neighbours that they do not have.",
    ),
    (
        label_over_classes,
        "The label enters as one number, y divided by the number of classes. That still gives the"
        " classes an order that they do not have.",
    ),
    (
        as_many_as_in_the_batch,
        "Your rows are as wide as the largest label of this batch asks for. A batch without the"
        " last class gets fewer columns, and the next layer fails: pass the number of classes.",
    ),
    (
        one_column_on,
        "The 1 stands one column too far to the right. Classes are counted from 0, so label 0 has"
        " its 1 in the first column.",
    ),
    (
        one_column_before,
        "The 1 stands one column too far to the left. Labels are counted from 0 already: subtract"
        " nothing.",
    ),
    (from_the_right, "Your columns are counted from the right: label 0 has its 1 in the last."),
    (
        by_position,
        "The 1 stands in column k for the k-th row of the batch, whatever its label is: y is not"
        " used.",
    ),
    (first_label_for_all, "All rows carry the label of the first image. Each needs its own."),
    (
        always_zero,
        "All label columns are 0, so another label gives the same picture: the label is ignored.",
    ),
    (
        always_one,
        "All label columns are 1, so another label gives the same picture: the label is ignored.",
    ),
    (
        every_label_in_every_row,
        "Each row has a 1 for every label of the batch: indexing [:, y] takes all rows with all"
        " labels. Each row needs the 1 of its own label.",
    ),
    (always_ten, "Your rows are 10 wide whatever `classes` is. Pass the argument on."),
    (
        thermometer,
        "All columns up to the label are 1. A one-hot row has a single 1, and no class contains"
        " another.",
    ),
    (
        number_in_its_column,
        "The column of the label holds the label itself and not a 1: class 0 disappears, and class"
        " 9 is loudest.",
    ),
):
    with_one_hot.mistake(sentence, row=function)


def not_flat(x: Tensor) -> Tensor:
    return x


def cut_off(x: Tensor) -> Tensor:
    return x.flatten(1).detach()


@with_one_hot.wrong(
    "You subtract 1 from the labels. They are counted from 0 already, so label 0 would get the"
    " column −1, which does not exist."
)
def labels_less_one(x: Tensor, y: Tensor, classes: int = 10) -> Tensor:
    return torch.cat([x.flatten(1), F.one_hot(y - 1, classes).float()], 1)


with_one_hot.mistake(
    "It works for codes (N, Z) and fails for images (N, 1, H, W): flatten them to (N, M) first.",
    flat=not_flat,
)
with_one_hot.mistake(
    "Here x was cut off from the graph (detach, .data, no_grad, or a tensor made anew). The"
    " generator learns through D's input, so no gradient would reach it.",
    flat=cut_off,
)


def label_first(x: Tensor, row: Tensor) -> Tensor:
    return torch.cat([row, x], 1)


def only_x(x: Tensor, row: Tensor) -> Tensor:
    return x


def only_the_label(x: Tensor, row: Tensor) -> Tensor:
    return row


def below(x: Tensor, row: Tensor) -> Tensor:
    return torch.cat([x, row])


def added(x: Tensor, row: Tensor) -> Tensor:
    return x + row


for function, sentence in (
    (label_first, "The label's columns stand before x. The lab counts on x first, then the label."),
    (only_x, "What comes back is x alone, so another label gives the same picture."),
    (only_the_label, "What comes back is the label alone: x is lost."),
    (
        below,
        "The labels were put below x as further rows. They belong beside it, as further columns"
        " of the same rows: dim 1.",
    ),
    (
        added,
        "The label is added to x, entry by entry. That needs as many classes as columns, and it"
        " overwrites what x says there: put it beside x.",
    ),
):
    with_one_hot.mistake(sentence, join=function)


@with_one_hot.also_right
def by_rows_of_the_identity(x: Tensor, y: Tensor, classes: int = 10) -> Tensor:
    return torch.hstack([x.reshape(len(x), -1), torch.eye(classes)[y]])


@with_one_hot.also_right
def by_comparison(x: Tensor, y: Tensor, classes: int = 10) -> Tensor:
    row = (y[:, None] == torch.arange(classes)).to(x.dtype)
    return torch.cat((x.view(x.shape[0], -1), row), dim=-1)


# ── ask_scores(p, asked, features) → hit rate, variety ──


def _asked_example(sizes: dict[int, int], classes: int, dim: int, seed: int) -> tuple:
    """Probabilities (N, K), labels asked for (N,), unsorted, and features (N, dim)."""
    g = torch.Generator().manual_seed(seed)
    asked = torch.tensor([k for k, n in sizes.items() for _ in range(n)])
    asked = asked[torch.randperm(len(asked), generator=g)]
    wish = 1.5 * one_hot(asked, classes)
    p = (torch.randn(len(asked), classes, generator=g) + wish).softmax(1)
    means = 3 * torch.randn(classes, dim, generator=g)
    return p, asked, means[asked] + torch.randn(len(asked), dim, generator=g)


ASKED = (
    lambda: _asked_example({1: 2, 0: 4}, 5, 2, 8),  # nobody asked for 2, 3 and 4
    lambda: _asked_example({4: 7, 0: 5, 2: 13}, 6, 3, 1),
)


def _look_at_scores(f: Function) -> Observation:
    """The two numbers for each example, from a tuple or a list of numbers or tensors."""
    seen: Observation = {"what is returned (hit rate, variety)": "2 values"}
    seen["arguments are changed in place"] = False
    for k, make in enumerate(ASKED):
        arguments = make()
        before = [value.clone() for value in arguments]
        got, where = f(*arguments), f"in example {k + 1}"
        if not isinstance(got, tuple | list) or len(got) != 2:
            return {"what is returned (hit rate, variety)": _kind(got)}
        seen |= {
            f"the {n} {where}": _number(v)
            for n, v in zip(("hit rate", "variety"), got, strict=True)
        }
        if not all(map(torch.equal, arguments, before)):
            seen["arguments are changed in place"] = True
    return seen


def share_of_hits(p: Tensor, asked: Tensor) -> Tensor:
    return (p.argmax(1) == asked).double().mean()


def groups_by_wish(p: Tensor, asked: Tensor) -> list[Tensor]:
    return [asked == k for k in asked.unique()]


def mean_distance(f: Tensor) -> Tensor:
    return F.pdist(f).mean()


def mean_over_classes(values: list[Tensor], sizes: list[int]) -> Tensor:
    return torch.stack(values).mean()


def hit_rate_first(hits: Tensor, variety: Tensor) -> tuple:
    return hits, variety


def _ask_scores(
    p: Tensor,
    asked: Tensor,
    features: Tensor,
    *,
    hits=share_of_hits,
    groups=groups_by_wish,
    spread=mean_distance,
    over=mean_over_classes,
    order=hit_rate_first,
) -> tuple:
    members = groups(p, asked)
    values = [spread(features[m]) for m in members]
    variety = over(values, [int(m.sum()) for m in members])
    return order(_number(hits(p, asked)), _number(variety))


ask_scores = Exercise(
    "ask_scores",
    _ask_scores,
    observe=_look_at_scores,
    points=3,
    right="Every table below is measured by it. Notice why there are two numbers: a model that"
    " draws the same perfect 7 again and again has a hit rate of 1 and no variety.",
    hints=(
        "First the hits: the likeliest class of each image is p.argmax(1). The mean of (== asked),"
        " as numbers, is a share.",
        "Then a loop over the classes that were asked for, asked.unique(): the features of class"
        " k are features[asked == k].",
        "F.pdist(f) has the distance of each pair of rows of f once, and no image with itself."
        " Take its mean for each class, and then the mean of these means.",
    ),
)


def mean_p_of_the_wish(p: Tensor, asked: Tensor) -> Tensor:
    return p[torch.arange(len(p)), asked].mean()


def confidence(p: Tensor, asked: Tensor) -> Tensor:
    return p.amax(1).mean()


def number_of_hits(p: Tensor, asked: Tensor) -> Tensor:
    return (p.argmax(1) == asked).sum()


def percent(p: Tensor, asked: Tensor) -> Tensor:
    return 100 * share_of_hits(p, asked)


def misses(p: Tensor, asked: Tensor) -> Tensor:
    return 1 - share_of_hits(p, asked)


def class_by_class(p: Tensor, asked: Tensor) -> Tensor:
    return torch.stack([share_of_hits(p[asked == k], k) for k in asked.unique()]).mean()


def above_half(p: Tensor, asked: Tensor) -> Tensor:
    return (p[torch.arange(len(p)), asked] > 0.5).double().mean()


for function, sentence in (
    (
        mean_p_of_the_wish,
        "Your hit rate is the mean probability of the class asked for. A hit is counted: the"
        " likeliest class either is the one asked for, or it is not.",
    ),
    (
        confidence,
        "Your hit rate is the mean of the largest probability. A classifier can be sure and see"
        " another class than the one asked for.",
    ),
    (number_of_hits, "Your hit rate is a number of images. Divide by how many were asked for."),
    (percent, "Your hit rate is in percent. Return a share between 0 and 1."),
    (misses, "Your hit rate is the share of misses, one minus what it should be."),
    (
        class_by_class,
        "Your hit rate is averaged within each class first. Then a class that was asked for twice"
        " counts as much as one that was asked for a hundred times; count over all images.",
    ),
    (
        above_half,
        "Your hit rate counts images with p above one half. The likeliest of many classes may have"
        " less and is still what the classifier sees.",
    ),
):
    _alone(ask_scores, sentence, hits=function)


def all_together(p: Tensor, asked: Tensor) -> list[Tensor]:
    return [torch.ones(len(p), dtype=torch.bool)]


def groups_by_classifier(p: Tensor, asked: Tensor) -> list[Tensor]:
    seen = p.argmax(1)
    return [seen == k for k in seen.unique() if (seen == k).sum() > 1]


def hits_only(p: Tensor, asked: Tensor) -> list[Tensor]:
    seen = p.argmax(1)
    found = [(asked == k) & (seen == k) for k in asked.unique()]
    return [m for m in found if m.sum() > 1]


def every_class(p: Tensor, asked: Tensor) -> list[Tensor]:
    return [asked == k for k in range(p.shape[1])]


def as_many_as_were_asked_for(p: Tensor, asked: Tensor) -> list[Tensor]:
    return [asked == k for k in range(len(asked.unique()))]


for function, sentence in (
    (
        all_together,
        "Your variety is measured over all images at once, so the distance between a 1 and an 8"
        " counts as variety. Measure it within each class, then average.",
    ),
    (
        groups_by_classifier,
        "Your variety groups the images by what the classifier sees. Group them by what was asked"
        " for.",
    ),
    (
        hits_only,
        "Your variety leaves out the misses. Use all images that were asked for; the hit rate tells"
        " about the misses.",
    ),
    (
        every_class,
        "A group has fewer than two images, and a mean over no pairs is NaN. Group by what was"
        " asked for, asked.unique(): not by all classes, nor by what the classifier sees.",
    ),
    (
        as_many_as_were_asked_for,
        "Your variety counts the classes up from 0 and meets one that nobody asked for: a mean over"
        " no pairs is NaN. The classes asked for need not be 0, 1, 2, …: go over asked.unique().",
    ),
):
    ask_scores.mistake(sentence, groups=function)


def with_itself(f: Tensor) -> Tensor:
    return torch.cdist(f, f).mean()


def squared(f: Tensor) -> Tensor:
    return F.pdist(f).square().mean()


def sum_of_distances(f: Tensor) -> Tensor:
    return F.pdist(f).sum()


def to_the_mean(f: Tensor) -> Tensor:
    return (f - f.mean(0)).norm(dim=1).mean()


def deviation(f: Tensor) -> Tensor:
    return f.std(0).mean()


def variance(f: Tensor) -> Tensor:
    return f.var(0).sum()


def absolute(f: Tensor) -> Tensor:
    return F.pdist(f, p=1).mean()


def to_the_next_image(f: Tensor) -> Tensor:
    return (f[1:] - f[:-1]).norm(dim=1).mean()


for function, sentence in (
    (
        with_itself,
        "Your pairs include each image with itself, at distance 0: n² numbers where n(n − 1)"
        " belong. The fewer images, the less variety you would find.",
    ),
    (squared, "Your distances are squared. Take the distance itself, the norm."),
    (
        sum_of_distances,
        "Your distances within a class are summed. Ask for twice as many images, and the sum is"
        " four times as large: take their mean.",
    ),
    (
        to_the_mean,
        "You measure the distance of each image from the mean of its class. The task is the mean"
        " distance of two images.",
    ),
    (
        deviation,
        "Your variety is the mean standard deviation of the features. The task is the mean"
        " distance of two images.",
    ),
    (
        variance,
        "Your variety is the total variance of the features. The task is the mean distance of two"
        " images.",
    ),
    (absolute, "You sum absolute differences. Take the Euclidean distance, the norm."),
    (
        to_the_next_image,
        "You compare each image with the next one only. Take every pair of images of a class.",
    ),
):
    ask_scores.mistake(sentence, spread=function)


def weighted(values: list[Tensor], sizes: list[int]) -> Tensor:
    parts = [v * n for v, n in zip(values, sizes, strict=True)]
    return torch.stack(parts).sum() / sum(sizes)


def by_pairs(values: list[Tensor], sizes: list[int]) -> Tensor:
    pairs = [n * (n - 1) for n in sizes]
    return torch.stack([v * n for v, n in zip(values, pairs, strict=True)]).sum() / sum(pairs)


def sum_over_classes(values: list[Tensor], sizes: list[int]) -> Tensor:
    return torch.stack(values).sum()


def last_class(values: list[Tensor], sizes: list[int]) -> Tensor:
    return values[-1]


for function, sentence in (
    (
        weighted,
        "Your mean over classes is weighted by the number of images. Each class counts once.",
    ),
    (
        by_pairs,
        "You average over the pairs of all classes in one go, so a class with twice the images"
        " counts four times. Average within each class first, then over classes.",
    ),
    (
        sum_over_classes,
        "Your variety is summed over the classes: ten classes would have ten times the variety of"
        " one. Take the mean.",
    ),
    (
        last_class,
        "Only one class comes back: each turn of your loop overwrites the last. Collect the values"
        " and average them.",
    ),
):
    _alone(ask_scores, sentence, over=function)


def variety_first(hits: Tensor, variety: Tensor) -> tuple:
    return variety, hits


ask_scores.mistake(
    "The hit rate comes first, then the variety; yours are swapped.", order=variety_first
)


@ask_scores.wrong(
    "Your variety compares rows of p. Compare the features: p hardly differs between two images"
    " that the classifier is sure of, however different they look."
)
def variety_of_p(p: Tensor, asked: Tensor, features: Tensor) -> tuple:
    return _ask_scores(p, asked, p)


@ask_scores.wrong(
    "Your sum over the classes is divided by the number of all classes. Divide by the number of"
    " those that were asked for."
)
def over_all_classes(p: Tensor, asked: Tensor, features: Tensor) -> tuple:
    hits, variety = _ask_scores(p, asked, features)
    return hits, variety * len(asked.unique()) / p.shape[1]


@ask_scores.wrong(
    "The likeliest class is looked for along dim 0, over the images. It is the largest entry of"
    " each row: dim 1."
)
def likeliest_along_the_batch(p: Tensor, asked: Tensor, features: Tensor) -> tuple:
    return (p.argmax(0) == asked).float().mean(), _ask_scores(p, asked, features)[1]


@ask_scores.wrong("Two numbers are asked for, (hit rate, variety), and one comes back.")
def hit_rate_alone(p: Tensor, asked: Tensor, features: Tensor) -> Tensor:
    return share_of_hits(p, asked).float()


@ask_scores.also_right
def by_loops(p: Tensor, asked: Tensor, features: Tensor) -> list:
    wanted = sorted(set(asked.tolist()))
    means = []
    for k in wanted:
        f = features[asked == k].double().numpy()
        pairs = [(a, b) for a in range(len(f)) for b in range(a)]
        means.append(np.mean([np.linalg.norm(f[a] - f[b]) for a, b in pairs]))
    hits = [int(row.argmax()) == int(k) for row, k in zip(p, asked, strict=True)]
    return [sum(hits) / len(hits), np.mean(means)]


@ask_scores.also_right
def by_a_table_of_distances(p: Tensor, asked: Tensor, features: Tensor) -> tuple:
    total = []
    for k in asked.unique():
        f = features[asked == k]
        total.append(torch.cdist(f, f).sum() / (len(f) * (len(f) - 1)))
    return (p.max(1).indices == asked).float().mean(), sum(total) / len(total)


# ── projection_logit(phi, y, psi, v) → (N,) ──


def _projection_probe(n: int, dim: int, y: list[int]) -> Function:
    def probe(g: torch.Generator) -> tuple:
        psi, v = nn.Linear(dim, 1), nn.Embedding(4, dim)
        with torch.no_grad():
            for parameter in (*psi.parameters(), *v.parameters()):
                parameter.copy_(torch.randn(parameter.shape, generator=g))
        return torch.randn(n, dim, generator=g), torch.tensor(y), psi, v

    return probe


def unconditional_score(phi: Tensor, psi: nn.Linear) -> Tensor:
    return psi(phi).flatten()


def rows_of(v: nn.Embedding, y: Tensor) -> Tensor:
    return v(y)


def inner_products(phi: Tensor, rows: Tensor) -> Tensor:
    return (rows * phi).sum(1)


def plus(score: Tensor, product: Tensor) -> Tensor:
    return score + product


def _projection_logit(
    phi: Tensor,
    y: Tensor,
    psi: nn.Linear,
    v: nn.Embedding,
    *,
    score=unconditional_score,
    rows=rows_of,
    product=inner_products,
    combine=plus,
) -> Tensor:
    return combine(score(phi, psi), product(phi, rows(v, y)))


projection_logit = Exercise(
    "projection_logit",
    _projection_logit,
    probes=[_projection_probe(3, 2, [2, 0, 2]), _projection_probe(7, 5, [1, 3, 3, 0, 2, 1, 0])],
    points=3,
    right="Your discriminator now asks two questions: is it real at all, and does it look like"
    " class y? Notice that the second is a product of image and label, not a sum.",
    hints=(
        "The score psi(phi) is (N, 1): make it (N,) with .flatten(), or the sum becomes a table.",
        "A call v(y) looks up a row for each label, (N, M), like the features phi.",
        "The inner product of two rows is the sum of the products of their entries, along dim 1:"
        " one number per image.",
    ),
)


def column(phi: Tensor, psi: nn.Linear) -> Tensor:
    return psi(phi)


def no_score(phi: Tensor, psi: nn.Linear) -> Tensor:
    return torch.zeros(len(phi))


def score_without_bias(phi: Tensor, psi: nn.Linear) -> Tensor:
    return (phi @ psi.weight.T).flatten()


def score_of_cut_off(phi: Tensor, psi: nn.Linear) -> Tensor:
    return psi(phi.detach()).flatten()


for function, sentence in (
    (
        column,
        "The shapes (N, 1) and (N,) were added, and that makes a table (N, N): every image with"
        " every label. Flatten psi(phi) first.",
    ),
    (
        no_score,
        "The term ψ(φ) is missing. Nothing scores whether the image looks real at all, whatever its"
        " class.",
    ),
    (score_without_bias, "The bias of psi is missing: call psi(phi), it is a layer."),
    (score_of_cut_off, "In ψ(φ) the features were cut off from the graph."),
):
    projection_logit.mistake(sentence, score=function)


def rows_by_position(v: nn.Embedding, y: Tensor) -> Tensor:
    return v(torch.arange(len(y)) % v.num_embeddings)


def rows_cut_off(v: nn.Embedding, y: Tensor) -> Tensor:
    return v(y).detach()


def row_of_the_first(v: nn.Embedding, y: Tensor) -> Tensor:
    return v(y[:1])


def mean_row(v: nn.Embedding, y: Tensor) -> Tensor:
    return v.weight.mean(0)


def label_times_one(v: nn.Embedding, y: Tensor) -> Tensor:
    return y[:, None].float()


for function, sentence in (
    (
        rows_by_position,
        "The rows of v are taken in order, k for the k-th image. Take row y: the label is not used"
        " yet.",
    ),
    (
        rows_cut_off,
        "The rows of v were cut off from the graph (detach, .data), so the embedding never learns.",
    ),
    (row_of_the_first, "All images are compared with the row of the first label."),
    (
        mean_row,
        "All labels share the mean row of v, so another label has the same logit: the label is"
        " ignored.",
    ),
    (
        label_times_one,
        "The label enters as a number that multiplies the features, and v is not used. Look up"
        " v(y): each class has a vector of its own.",
    ),
):
    projection_logit.mistake(sentence, rows=function)


def no_product(phi: Tensor, rows: Tensor) -> Tensor:
    return torch.zeros(len(phi))


def mean_of_products(phi: Tensor, rows: Tensor) -> Tensor:
    return (rows * phi).mean(1)


def sum_over_the_batch(phi: Tensor, rows: Tensor) -> Tensor:
    return (rows * phi).sum()


def sum_of_the_row(phi: Tensor, rows: Tensor) -> Tensor:
    return rows.expand_as(phi).sum(1)


def cosine(phi: Tensor, rows: Tensor) -> Tensor:
    return F.cosine_similarity(phi, rows.expand_as(phi))


def negative(phi: Tensor, rows: Tensor) -> Tensor:
    return -(rows * phi).sum(1)


def distance(phi: Tensor, rows: Tensor) -> Tensor:
    return (rows - phi).norm(dim=1)


def of_cut_off_features(phi: Tensor, rows: Tensor) -> Tensor:
    return (rows * phi.detach()).sum(1)


for function, sentence in (
    (
        no_product,
        "The label is ignored: ψ(φ) alone scores an image under all labels alike, so G need not"
        " obey.",
    ),
    (mean_of_products, "The products are averaged and not summed. An inner product is a sum."),
    (
        sum_over_the_batch,
        "The products are summed over the batch, too: all images get the same number added. Sum"
        " along dim 1 only.",
    ),
    (
        sum_of_the_row,
        "The features are missing from the product: the entries of v(y) alone are summed. That"
        " scores the label, whatever the image is.",
    ),
    (cosine, "You divide by the lengths of both vectors: a cosine. The inner product keeps them."),
    (
        negative,
        "The inner product is subtracted: images that look like their class would look fake.",
    ),
    (distance, "You measure a distance between v(y) and φ. The task is their inner product."),
    (
        of_cut_off_features,
        "In the inner product the features were cut off from the graph. No gradient tells G how"
        " to look more like class y.",
    ),
):
    projection_logit.mistake(sentence, product=function)


def sigmoid_of_both(score: Tensor, product: Tensor) -> Tensor:
    return (score + product).sigmoid()


def times(score: Tensor, product: Tensor) -> Tensor:
    return score * product


def as_a_column(score: Tensor, product: Tensor) -> Tensor:
    return (score + product).reshape(-1, 1)


def apart(score: Tensor, product: Tensor) -> tuple:
    return score, product


def mean_of_all(score: Tensor, product: Tensor) -> Tensor:
    return (score + product).mean()


for function, sentence in (
    (
        sigmoid_of_both,
        "You return probabilities. The loss takes logits and applies the sigmoid itself.",
    ),
    (times, "The two terms are multiplied. They are two scores, and their sum is the logit."),
    (as_a_column, "The values are right, but the shape is (N, 1) where (N,) is asked for."),
    (apart, "Two values come back. The logit is the sum of the two terms."),
    (mean_of_all, "The logits are averaged over the batch. Return one logit per image."),
):
    _alone(projection_logit, sentence, combine=function)


@projection_logit.wrong(
    "You return one logit per image and class, (N, 4) here. Keep only that of the image's own"
    " label."
)
def every_class_at_once(phi: Tensor, y: Tensor, psi: nn.Linear, v: nn.Embedding) -> Tensor:
    return psi(phi) + phi @ v.weight.T


@projection_logit.wrong(
    "A matrix product compares every image with every label of the batch, (N, N). Each image meets"
    " its own label only."
)
def every_pair(phi: Tensor, y: Tensor, psi: nn.Linear, v: nn.Embedding) -> Tensor:
    return psi(phi) + phi @ v(y).T


@projection_logit.wrong(
    "A matrix product with v(y) compares every image with every label of the batch, (N, N)."
    " Multiply entry by entry and sum along dim 1: each image meets its own label only."
)
def every_pair_and_flat(phi: Tensor, y: Tensor, psi: nn.Linear, v: nn.Embedding) -> Tensor:
    return psi(phi).flatten() + v(y) @ phi.T


@projection_logit.wrong(
    "The product @ makes all pairs of an image and a label, and the sum adds them up. Multiply"
    " entry by entry and sum over dim 1: each image meets its own label only."
)
def every_pair_summed(phi: Tensor, y: Tensor, psi: nn.Linear, v: nn.Embedding) -> Tensor:
    return psi(phi).flatten() + (v(y) @ phi.T).sum(1)


@projection_logit.wrong(
    "You add ψ(φ) to each of the M products before the sum, so it counts M times. Sum the products"
    " first, then add ψ(φ) once."
)
def score_m_times(phi: Tensor, y: Tensor, psi: nn.Linear, v: nn.Embedding) -> Tensor:
    return (psi(phi) + v(y) * phi).sum(1)


@projection_logit.wrong(
    "The label's vector is added to the features before psi. Then the label moves the logit by the"
    " same amount whatever the image is, and D cannot tell a right label from a wrong one."
)
def added_before_psi(phi: Tensor, y: Tensor, psi: nn.Linear, v: nn.Embedding) -> Tensor:
    return psi(phi + v(y)).flatten()


@projection_logit.wrong(
    "The layer psi is applied to the product of v(y) and φ. It scores the features themselves, and"
    " the product is only summed."
)
def psi_of_the_product(phi: Tensor, y: Tensor, psi: nn.Linear, v: nn.Embedding) -> Tensor:
    return psi(phi * v(y)).flatten()


@projection_logit.wrong(
    "A table (N, M) comes back: ψ(φ) is added to every product. The products have to be summed"
    " along dim 1 before."
)
def not_summed(phi: Tensor, y: Tensor, psi: nn.Linear, v: nn.Embedding) -> Tensor:
    return psi(phi) + v(y) * phi


@projection_logit.also_right
def by_gather(phi: Tensor, y: Tensor, psi: nn.Linear, v: nn.Embedding) -> Tensor:
    every = psi(phi) + phi @ v.weight.T
    return every.gather(1, y[:, None])[:, 0]


@projection_logit.also_right
def by_einsum(phi: Tensor, y: Tensor, psi: nn.Linear, v: nn.Embedding) -> Tensor:
    return psi(phi)[:, 0] + torch.einsum("nf,nf->n", v.weight[y], phi)


# ── mixed_label(network, z, a, b, share) → what network makes of (N, Z + 10) ──


def _mixed_probe(n: int, a: int, b: int, share: float) -> Function:
    def probe(g: torch.Generator) -> tuple:
        network = nn.Sequential(nn.Linear(13, 7), nn.Tanh(), nn.Linear(7, 5), nn.Tanh())
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=g))
        return network, torch.randn(n, 3, generator=g), a, b, share

    return probe


def weighted_rows(z: Tensor, a: int, b: int, share: float) -> Tensor:
    row = (1 - share) * torch.eye(10)[a] + share * torch.eye(10)[b]
    return row.expand(len(z), 10)


def _same_codes(z: Tensor) -> Tensor:
    return z


def _input(z: Tensor, row: Tensor) -> Tensor:
    return torch.cat([z, row], 1)


def _mixed_label(
    network: nn.Module,
    z: Tensor,
    a: int,
    b: int,
    share: float,
    *,
    rows=weighted_rows,
    codes=_same_codes,
    join=_input,
) -> Tensor:
    return network(join(codes(z), rows(z, a, b, share)))


mixed_label = Exercise(
    "mixed_label",
    _mixed_label,
    probes=[_mixed_probe(2, 3, 8, 0.75), _mixed_probe(5, 7, 1, 0.625), _mixed_probe(3, 4, 4, 0.5)],
    points=2,
    gradients=False,
    right="Your labels now have an in-between. Notice that the network has never seen one: in"
    " training every row had a single 1.",
    hints=(
        "The mix happens in front of the network, in the ten label columns. The network is called"
        " once.",
        "A row of ten weights: 1 − share in column a, share in column b, 0 elsewhere; the same row"
        " for each code.",
        "You have a tool for rows: (1 − share) * with_one_hot(z, labels a) + share *"
        " with_one_hot(z, labels b). What happens to z in this sum?",
    ),
)


def swapped_rows(z: Tensor, a: int, b: int, share: float) -> Tensor:
    return weighted_rows(z, b, a, share)


def number_between(z: Tensor, a: int, b: int, share: float) -> Tensor:
    return torch.eye(10)[round((1 - share) * a + share * b)].expand(len(z), 10)


def whole_number_between(z: Tensor, a: int, b: int, share: float) -> Tensor:
    return torch.eye(10)[int((1 - share) * a + share * b)].expand(len(z), 10)


def the_nearer_one(z: Tensor, a: int, b: int, share: float) -> Tensor:
    return torch.eye(10)[a if share < 0.5 else b].expand(len(z), 10)


def both_in_full(z: Tensor, a: int, b: int, share: float) -> Tensor:
    return (torch.eye(10)[a] + torch.eye(10)[b]).expand(len(z), 10)


def half_and_half(z: Tensor, a: int, b: int, share: float) -> Tensor:
    return weighted_rows(z, a, b, 0.5)


def a_in_full(z: Tensor, a: int, b: int, share: float) -> Tensor:
    return (torch.eye(10)[a] + share * torch.eye(10)[b]).expand(len(z), 10)


def overwritten(z: Tensor, a: int, b: int, share: float) -> Tensor:
    row = torch.zeros(len(z), 10)
    row[:, a] = 1 - share
    row[:, b] = share
    return row


def a_alone(z: Tensor, a: int, b: int, share: float) -> Tensor:
    return (1 - share) * torch.eye(10)[a].expand(len(z), 10)


def b_alone(z: Tensor, a: int, b: int, share: float) -> Tensor:
    return share * torch.eye(10)[b].expand(len(z), 10)


def what_is_left_in_both(z: Tensor, a: int, b: int, share: float) -> Tensor:
    return (1 - share) * (torch.eye(10)[a] + torch.eye(10)[b]).expand(len(z), 10)


def by_roots(z: Tensor, a: int, b: int, share: float) -> Tensor:
    row = (1 - share) ** 0.5 * torch.eye(10)[a] + share**0.5 * torch.eye(10)[b]
    return row.expand(len(z), 10)


for function, sentence in (
    (swapped_rows, "The ends are swapped: share 0 should be all a, and share 1 all b."),
    (
        number_between,
        "You asked for the number between a and b, rounded. Between 3 and 8 that is a 5 or a 6:"
        " labels are names, and their mean is no mixture.",
    ),
    (
        whole_number_between,
        "You asked for the number between a and b, cut off to a whole one. Labels are names, and"
        " their mean is no mixture.",
    ),
    (
        the_nearer_one,
        "One whole label is chosen, a below one half and b above. Nothing lies between: give both"
        " columns their share.",
    ),
    (both_in_full, "Both columns hold a 1: the share is not used, and the row sums to 2."),
    (what_is_left_in_both, "Both columns hold 1 − share. That is a's part; b has the share."),
    (half_and_half, "Both columns hold ½ whatever the share is."),
    (a_in_full, "Column a keeps its full 1 while b is added. Give a what is left, 1 − share."),
    (
        overwritten,
        "For a = b your second assignment overwrites the first, and the row no longer sums to 1."
        " Add the shares up.",
    ),
    (a_alone, "Column b is missing from the row: only a's share is there."),
    (b_alone, "Column a is missing from the row: only b's share is there."),
    (
        by_roots,
        "You take the roots of the shares, so that the row has length 1. The task is a weighted"
        " mean, whose entries sum to 1.",
    ),
):
    mixed_label.mistake(sentence, rows=function)


def new_codes(z: Tensor) -> Tensor:
    return torch.randn_like(z)


def halved_codes(z: Tensor) -> Tensor:
    return z / 2


def doubled_codes(z: Tensor) -> Tensor:
    return 2 * z


def first_code(z: Tensor) -> Tensor:
    return z[:1].expand_as(z)


for function, sentence in (
    (new_codes, "New codes are drawn and z is not used: the style changes with every call."),
    (halved_codes, "The codes are halved on the way: each z should enter as it is."),
    (
        doubled_codes,
        "The codes enter twice, as 2z: two inputs were added without their weights. Mix the labels"
        " and leave z as it is.",
    ),
    (first_code, "All images are drawn with the first code. Use each row of z."),
):
    mixed_label.mistake(sentence, codes=function)


def row_first(z: Tensor, row: Tensor) -> Tensor:
    return torch.cat([row, z], 1)


mixed_label.mistake("The label's columns stand before z. The code comes first.", join=row_first)


def _asked_for(network: nn.Module, z: Tensor, k: int) -> Tensor:
    return network(torch.cat([z, torch.eye(10)[k].expand(len(z), 10)], 1))


@mixed_label.wrong(
    "You mix two finished images: a cross-fade, one digit shining through the other. Mix the"
    " labels in front of the network and draw once."
)
def cross_fade(network: nn.Module, z: Tensor, a: int, b: int, share: float) -> Tensor:
    return (1 - share) * _asked_for(network, z, a) + share * _asked_for(network, z, b)


@mixed_label.wrong(
    "The network takes one argument: the rows (N, Z + 10) of code and label side by side. You gave"
    " it two."
)
def two_arguments(network: nn.Module, z: Tensor, a: int, b: int, share: float) -> Tensor:
    return network(z, weighted_rows(z, a, b, share))


@mixed_label.wrong("You return the input of the network, (N, Z + 10). Call the network with it.")
def not_called(network: nn.Module, z: Tensor, a: int, b: int, share: float) -> Tensor:
    return torch.cat([z, weighted_rows(z, a, b, share)], 1)


@mixed_label.wrong(
    "You return the rows of the label alone. Put them beside z and call the network."
)
def rows_alone(network: nn.Module, z: Tensor, a: int, b: int, share: float) -> Tensor:
    return weighted_rows(z, a, b, share).clone()


@mixed_label.also_right
def by_mixed_inputs(network: nn.Module, z: Tensor, a: int, b: int, share: float) -> Tensor:
    ends = [_with_one_hot(z, torch.full((len(z),), k)) for k in (a, b)]
    return network(torch.lerp(*ends, share))


@mixed_label.also_right
def by_adding_up(network: nn.Module, z: Tensor, a: int, b: int, share: float) -> Tensor:
    row = torch.zeros(len(z), 10)
    row[:, a] += 1 - share
    row[:, b] += share
    with torch.no_grad():
        return network(torch.cat([z, row], 1))


# ── search_code(generator, classifier, z, target, steps, lr) → codes (N, Z) ──


def _search_probe(n: int, target: int, steps: int, lr: float) -> Function:
    def probe(g: torch.Generator) -> tuple:
        generator = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh())
        classifier = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
        with torch.no_grad():
            for network in (generator, classifier):
                for parameter in network.parameters():
                    parameter.copy_(torch.randn(parameter.shape, generator=g))
        return generator, classifier, torch.randn(n, 4, generator=g), target, steps, lr

    return probe


def of_the_code(z: Tensor, generator: nn.Module, classifier: nn.Module) -> list[Tensor]:
    return [z]


def minus_log_p(logits: Tensor, target: int) -> Tensor:
    return -logits.log_softmax(1)[:, target].sum()


def to_unit(x: Tensor) -> Tensor:
    return (x + 1) / 2


def each_back_to_its_length(z: Tensor, lengths: Tensor) -> None:
    z *= lengths / z.norm(dim=1, keepdim=True)


def own_copy(z: Tensor) -> Tensor:
    return z.clone().requires_grad_()


def cleared(optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()


def the_codes(z: Tensor, generator: nn.Module) -> Tensor:
    return z.detach()


def _search_code(
    generator: nn.Module,
    classifier: nn.Module,
    z: Tensor,
    target: int,
    steps: int = 40,
    lr: float = 0.1,
    *,
    start=own_copy,
    moved=of_the_code,
    unit=to_unit,
    objective=minus_log_p,
    back=each_back_to_its_length,
    after=None,
    clear=cleared,
    kind=torch.optim.Adam,
    result=the_codes,
) -> Tensor:
    lengths, z = z.norm(dim=1, keepdim=True), start(z)
    optimizer = kind(moved(z, generator, classifier), lr=lr)
    for _ in range(steps):
        loss = objective(classifier(unit(generator(z))), target)
        clear(optimizer)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            back(z, lengths)
    if after:
        with torch.no_grad():
            after(z, lengths)
    return result(z, generator)


search_code = Exercise(
    "search_code",
    _search_code,
    probes=[_search_probe(2, 2, 4, 0.07), _search_probe(5, 0, 5, 0.2)],
    points=4,
    gradients=False,
    right="Your search gets a class out of a model that has never heard of classes. Notice what is"
    " trained: the codes, and nothing else.",
    hints=(
        "A copy of the codes is the only thing that learns: z.clone().requires_grad_(), and"
        " torch.optim.Adam([z], lr).",
        "Each step: images = (generator(z) + 1) / 2, the log probabilities"
        " classifier(images).log_softmax(1)[:, target], minus their sum as the loss; then"
        " zero_grad, backward, step.",
        "Keep the lengths from before the loop, z.norm(dim=1, keepdim=True). After each step,"
        " inside torch.no_grad(): z *= lengths / z.norm(dim=1, keepdim=True).",
    ),
)


def in_place(z: Tensor) -> Tensor:
    return z.requires_grad_()


_alone(
    search_code,
    "The codes that were passed in are changed in place. The lab needs them again, to compare:"
    " search with a copy, z.clone().",
    start=in_place,
)


def and_the_generator(z: Tensor, generator: nn.Module, classifier: nn.Module) -> list[Tensor]:
    return [z, *generator.parameters()]


def and_the_classifier(z: Tensor, generator: nn.Module, classifier: nn.Module) -> list[Tensor]:
    return [z, *classifier.parameters()]


def everything(z: Tensor, generator: nn.Module, classifier: nn.Module) -> list[Tensor]:
    return [z, *generator.parameters(), *classifier.parameters()]


def the_generator_alone(z: Tensor, generator: nn.Module, classifier: nn.Module) -> list[Tensor]:
    return [*generator.parameters()]


for function, sentence in (
    (
        and_the_generator,
        "The optimizer was given the generator, too. It would learn to draw the target from any"
        " code, and forget everything else: only z may move.",
    ),
    (
        and_the_classifier,
        "The optimizer was given the classifier, too. It would learn to call everything the"
        " target: only z may move.",
    ),
    (
        everything,
        "The optimizer was given the generator and the classifier, too. Both would bend until the"
        " answer fits: only z may move.",
    ),
    (
        the_generator_alone,
        "The optimizer was given the generator and not z: the network changes and the codes stay."
        " Only z may move.",
    ),
):
    _alone(search_code, sentence, moved=function)


def clamped(x: Tensor) -> Tensor:
    return x.clamp(0, 1)


def doubled(x: Tensor) -> Tensor:
    return x * 2 - 1


for function, sentence in (
    (
        _same,
        "The classifier is given images in [−1, 1] and was trained on [0, 1]. It sees a greyer"
        " picture with another meaning: use (x + 1) / 2.",
    ),
    (
        clamped,
        "The images are cut off at 0. The generator's range is [−1, 1]: (x + 1) / 2 keeps all of"
        " it, and the gradient of the dark pixels.",
    ),
    (
        doubled,
        "The range is changed the wrong way: 2x − 1 goes from [0, 1] to [−1, 1]. The generator"
        " draws in [−1, 1], and the classifier takes [0, 1].",
    ),
):
    _alone(search_code, sentence, unit=function)


def log_p(logits: Tensor, target: int) -> Tensor:
    return logits.log_softmax(1)[:, target].sum()


def minus_p(logits: Tensor, target: int) -> Tensor:
    return -logits.softmax(1)[:, target].sum()


def minus_logit(logits: Tensor, target: int) -> Tensor:
    return -logits[:, target].sum()


def the_likeliest(logits: Tensor, target: int) -> Tensor:
    return -logits.log_softmax(1).amax(1).sum()


def over_the_batch(logits: Tensor, target: int) -> Tensor:
    return -logits.log_softmax(0)[:, target].sum()


def softmax_twice(logits: Tensor, target: int) -> Tensor:
    return -logits.softmax(1).log_softmax(1)[:, target].sum()


def row_of_the_target(logits: Tensor, target: int) -> Tensor:
    return -logits.log_softmax(1)[target % len(logits)].sum()


for function, sentence in (
    (
        log_p,
        "The search goes downhill: Adam minimises, and you gave it log p. Your codes move away"
        " from the target; minimise −log p.",
    ),
    (
        minus_p,
        "You climb p and not log p. Where p is nearly 0 its slope is nearly 0, too, and such a code"
        " hardly starts.",
    ),
    (
        minus_logit,
        "You climb the target's logit alone. Other logits may rise with it; log p, by log_softmax,"
        " compares it with all of them.",
    ),
    (
        the_likeliest,
        "You climb the probability of whatever class is likeliest: the target is not used.",
    ),
    (
        over_the_batch,
        "The softmax goes over the batch (dim 0), so the codes compete with each other. It goes"
        " over the classes, dim 1.",
    ),
    (
        softmax_twice,
        "Softmax is applied twice: log_softmax and cross_entropy take logits, not probabilities.",
    ),
    (
        row_of_the_target,
        "You took a row of the table of log probabilities, which is an image. The target is a"
        " column: [:, target].",
    ),
):
    _alone(search_code, sentence, objective=function)


def nothing(z: Tensor, lengths: Tensor) -> None:
    pass


def to_length_one(z: Tensor, lengths: Tensor) -> None:
    z /= z.norm(dim=1, keepdim=True)


def one_length_for_all(z: Tensor, lengths: Tensor) -> None:
    z *= lengths.norm() / z.norm()


def to_the_expected_length(z: Tensor, lengths: Tensor) -> None:
    z *= z.shape[1] ** 0.5 / z.norm(dim=1, keepdim=True)


def columns_for_rows(z: Tensor, lengths: Tensor) -> None:
    z *= lengths / z.norm(dim=0, keepdim=True)


for function, sentence in (
    (
        nothing,
        "The codes do not keep their lengths. They drift to where the generator has seen none;"
        " after each step, scale every code back to the length that it began with.",
    ),
    (
        to_length_one,
        "Every code is scaled to length 1. Draws of N(0, I) are about √Z long: scale each back to"
        " its own first length.",
    ),
    (
        one_length_for_all,
        "The whole batch is scaled by one factor. Each code has a length of its own: norm(dim=1,"
        " keepdim=True).",
    ),
    (
        to_the_expected_length,
        "Every code is scaled to √Z, the length that N(0, I) has on average. Keep the length that"
        " each code began with.",
    ),
    (
        columns_for_rows,
        "The norm is taken along the batch (dim 0). The length of a code is its norm along dim 1.",
    ),
):
    _alone(search_code, sentence, back=function)


def only_at_the_end(z: Tensor, lengths: Tensor) -> None:
    each_back_to_its_length(z, lengths)


@search_code.wrong(
    "The lengths are put right once, after the last step. Do it after every step: on the way the"
    " search is led by images that the generator would never draw."
)
def lengths_at_the_end(
    generator: nn.Module,
    classifier: nn.Module,
    z: Tensor,
    target: int,
    steps: int = 40,
    lr: float = 0.1,
) -> Tensor:
    return _search_code(
        generator, classifier, z, target, steps, lr, back=nothing, after=only_at_the_end
    )


def never(optimizer: torch.optim.Optimizer) -> None:
    pass


search_code.mistake(
    "The gradients are never cleared: each step uses the sum of all gradients so far. Call"
    " optimizer.zero_grad() before backward.",
    clear=never,
)
search_code.mistake(
    "Plain SGD takes steps as long as the gradient, which is nearly 0 for a code that is far from"
    " the target. Use torch.optim.Adam.",
    kind=torch.optim.SGD,
)


class _FreshAdam(torch.optim.Adam):
    """Adam that forgets its averages before each step, as one that is made anew does."""

    def step(self, closure: Any = None) -> Any:
        self.state.clear()
        return super().step(closure)


_alone(
    search_code,
    "A new optimizer is made in every step, so Adam forgets its averages: each step is lr long in"
    " every direction. Make it once, before the loop.",
    kind=_FreshAdam,
)


def their_images(z: Tensor, generator: nn.Module) -> Tensor:
    return generator(z).detach()


search_code.mistake(
    "You return images. The lab asks for the codes, and draws them itself.", result=their_images
)


@search_code.wrong(
    "The codes come back as they were: nothing has moved them. Is optimizer.step() called, does the"
    " copy require gradients, are they cleared before backward and not after, and is what you"
    " return the tensor that was optimized?"
)
def unmoved(
    generator: nn.Module,
    classifier: nn.Module,
    z: Tensor,
    target: int,
    steps: int = 40,
    lr: float = 0.1,
) -> Tensor:
    return z.clone()


@search_code.wrong(
    "No gradient reaches the codes: does the copy require gradients? A clone does not by itself;"
    " call requires_grad_() on it."
)
def without_requires_grad(
    generator: nn.Module,
    classifier: nn.Module,
    z: Tensor,
    target: int,
    steps: int = 40,
    lr: float = 0.1,
) -> Tensor:
    code = z.clone()
    optimizer = torch.optim.Adam([code], lr)
    frozen = [copy.deepcopy(network).requires_grad_(False) for network in (generator, classifier)]
    optimizer.zero_grad()
    minus_log_p(frozen[1](to_unit(frozen[0](code))), target).backward()
    return code


@search_code.wrong(
    "After rescaling you made a new tensor; Adam still moves the old one. Scale in place, under"
    " torch.no_grad()."
)
def rebound(
    generator: nn.Module,
    classifier: nn.Module,
    z: Tensor,
    target: int,
    steps: int = 40,
    lr: float = 0.1,
) -> Tensor:
    lengths, code = z.norm(dim=1, keepdim=True), z.clone().requires_grad_()
    optimizer = torch.optim.Adam([code], lr)
    for _ in range(steps):
        optimizer.zero_grad()
        minus_log_p(classifier(to_unit(generator(code))), target).backward()
        optimizer.step()
        code = (code / code.norm(dim=1, keepdim=True) * lengths).detach().requires_grad_()
    return code.detach()


@search_code.wrong(
    "A tensor that requires gradients (a leaf) must not be changed in place while the graph is"
    " recorded. Rescale inside `with torch.no_grad():`."
)
def scaled_without_no_grad(
    generator: nn.Module,
    classifier: nn.Module,
    z: Tensor,
    target: int,
    steps: int = 40,
    lr: float = 0.1,
) -> Tensor:
    lengths, code = z.norm(dim=1, keepdim=True), z.clone().requires_grad_()
    code *= lengths / code.norm(dim=1, keepdim=True)
    return code


@search_code.wrong("The argument steps is not used: the lab asks for another number of steps.")
def forty_steps(
    generator: nn.Module,
    classifier: nn.Module,
    z: Tensor,
    target: int,
    steps: int = 40,
    lr: float = 0.1,
) -> Tensor:
    return _search_code(generator, classifier, z, target, 40, lr)


@search_code.wrong("The argument lr is not used: your steps are 0.1 long whatever it is.")
def rate_of_its_own(
    generator: nn.Module,
    classifier: nn.Module,
    z: Tensor,
    target: int,
    steps: int = 40,
    lr: float = 0.1,
) -> Tensor:
    return _search_code(generator, classifier, z, target, steps, 0.1)


@search_code.also_right
def by_cross_entropy(
    generator: nn.Module,
    classifier: nn.Module,
    z: Tensor,
    target: int,
    steps: int = 40,
    lr: float = 0.1,
) -> Tensor:
    code = nn.Parameter(z.detach().clone())
    optimizer = torch.optim.Adam([code], lr=lr)
    labels = torch.full((len(z),), target)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(classifier((generator(code) + 1) / 2), labels).backward()
        optimizer.step()
        code.data = F.normalize(code.data, dim=1) * z.norm(dim=1)[:, None]
    return code.data


@search_code.also_right
def by_gradients_alone(
    generator: nn.Module,
    classifier: nn.Module,
    z: Tensor,
    target: int,
    steps: int = 40,
    lr: float = 0.1,
) -> Tensor:
    code, lengths = copy.deepcopy(z).requires_grad_(True), z.norm(dim=1, keepdim=True)
    optimizer = torch.optim.Adam([code], lr)
    for _ in range(steps):
        p = classifier(0.5 * generator(code) + 0.5).softmax(1)[:, target]
        (code.grad,) = torch.autograd.grad(-p.log().sum(), code)
        optimizer.step()
        with torch.no_grad():
            code.copy_(lengths * code / code.norm(dim=1, keepdim=True))
    return code


# ── principal_plane(x) → positions (N, 2), shares of variance (2,) ──


def _cloud(n: int, dim: int, seed: int) -> Tensor:
    """Points off the origin whose spread differs by direction, none of them an axis."""
    g = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(dim, dim, generator=g))[0]
    scale = torch.arange(dim, 0, -1) ** 1.5 * torch.logspace(0, 0.3, dim)
    return torch.randn(n, dim, generator=g) * scale @ turn + 4 * torch.rand(dim, generator=g) + 2


CLOUDS = (lambda: _cloud(5, 3, 2), lambda: _cloud(17, 7, 3))


def _turned(positions: Tensor) -> Tensor:
    """Each column with the sign that makes its largest entry positive: PCA leaves it open."""
    signs = positions.gather(0, positions.abs().argmax(0, keepdim=True)).sign()
    return positions * signs


def _look_at_planes(f: Function) -> Observation:
    """Positions up to the sign of each direction, and the shares, of each cloud."""
    seen: Observation = {"what is returned (positions, shares)": "2 values"}
    seen |= {"the positions": "a tensor", "the shares": "a tensor", "x is changed in place": False}
    for k, make in enumerate(CLOUDS):
        x = make()
        got, where = f(x), f"in example {k + 1}"
        if not torch.equal(x, make()):
            seen["x is changed in place"] = True
        if not isinstance(got, tuple | list) or len(got) != 2:
            return {"what is returned (positions, shares)": _kind(got)}
        positions, shares = got
        for name, part in (("positions", positions), ("shares", shares)):
            if not isinstance(part, Tensor):
                return seen | {f"the {name}": f"of type {type(part).__name__}, not a tensor"}
        seen[f"the shares of variance {where}"] = shares.detach().double()
        flat = positions.detach().double()
        seen[f"the positions {where}, up to sign"] = _turned(flat) if flat.ndim == 2 else flat
    return seen


def centred(x: Tensor) -> Tensor:
    return x - x.mean(0)


def variances(s: Tensor) -> Tensor:
    return s.square()


def of_all(values: Tensor) -> Tensor:
    return values[:2] / values.sum()


def two_directions(x: Tensor, u: Tensor, s: Tensor, vh: Tensor) -> Tensor:
    return x @ vh[:2].T


def positions_first(positions: Tensor, shares: Tensor) -> tuple:
    return positions, shares


def _principal_plane(
    x: Tensor,
    *,
    centre=centred,
    power=variances,
    share=of_all,
    place=two_directions,
    order=positions_first,
) -> tuple:
    x = centre(x)
    u, s, vh = torch.linalg.svd(x, full_matrices=False)
    return order(place(x, u, s, vh), share(power(s)))


principal_plane = Exercise(
    "principal_plane",
    _principal_plane,
    observe=_look_at_planes,
    points=3,
    right="Every plane below is computed by it. Notice that no label enters: the directions are"
    " those of most variance, and nobody promised that classes differ along them.",
    hints=(
        "Subtract the mean of each column first. Then U, S, Vh = torch.linalg.svd(x,"
        " full_matrices=False).",
        "The rows of Vh are the directions, the largest variance first. A position is the inner"
        " product of a centred point with a direction.",
        "The variance along direction k is S[k]² / (N − 1). The share divides S[k]² by the sum of"
        " all S²; N − 1 cancels.",
    ),
)


def not_centred(x: Tensor) -> Tensor:
    return x


def centred_rows(x: Tensor) -> Tensor:
    return x - x.mean(1, keepdim=True)


def centred_by_one_number(x: Tensor) -> Tensor:
    return x - x.mean()


def standardised(x: Tensor) -> Tensor:
    return (x - x.mean(0)) / x.std(0)


for function, sentence in (
    (
        not_centred,
        "The points are not centred. The first direction then points from 0 to the middle of the"
        " cloud, which says nothing about how the cloud is spread.",
    ),
    (
        centred_rows,
        "You subtracted the mean of each point (dim 1). PCA subtracts the mean point: the mean of"
        " each column, dim 0.",
    ),
    (
        centred_by_one_number,
        "You subtracted one mean of all numbers. Each column has a mean of its own: x.mean(0).",
    ),
    (
        standardised,
        "You also divided each column by its standard deviation. That is PCA of other data, in"
        " which a pixel that hardly changes counts as much as any.",
    ),
):
    principal_plane.mistake(sentence, centre=function)

principal_plane.mistake(
    "The singular values are not squared. They are lengths; variances are their squares, and only"
    " variances add up to the whole.",
    power=_same,
)


def over_two(values: Tensor) -> Tensor:
    return values[:2] / values[:2].sum()


def as_values(values: Tensor) -> Tensor:
    return values[:2]


def their_sum(values: Tensor) -> Tensor:
    return values[:2].sum() / values.sum()


def every_share(values: Tensor) -> Tensor:
    return values / values.sum()


def added_up(values: Tensor) -> Tensor:
    return values[:2].cumsum(0) / values.sum()


def in_percent(values: Tensor) -> Tensor:
    return 100 * values[:2] / values.sum()


def over_the_largest(values: Tensor) -> Tensor:
    return values[:2] / values[0]


for function, sentence in (
    (
        over_two,
        "Your shares are of the two directions only and always sum to 1. Divide by the sum over"
        " all directions.",
    ),
    (as_values, "You return S² itself, and not shares. Divide by the sum over all directions."),
    (their_sum, "You return one number for the plane. Two are asked for, one per direction."),
    (every_share, "You return the shares of all directions. Keep the first two."),
    (added_up, "Your second share includes the first one. Return each on its own."),
    (in_percent, "Your shares are in percent. Return shares between 0 and 1."),
    (over_the_largest, "You divide by the largest direction. Divide by the sum over all of them."),
):
    _alone(principal_plane, sentence, share=function)


def without_s(x: Tensor, u: Tensor, s: Tensor, vh: Tensor) -> Tensor:
    return u[:, :2]


def columns_of_vh(x: Tensor, u: Tensor, s: Tensor, vh: Tensor) -> Tensor:
    return x @ vh[:, :2]


def last_two(x: Tensor, u: Tensor, s: Tensor, vh: Tensor) -> Tensor:
    return x @ vh[-2:].T


def all_directions(x: Tensor, u: Tensor, s: Tensor, vh: Tensor) -> Tensor:
    return x @ vh.T


def the_directions(x: Tensor, u: Tensor, s: Tensor, vh: Tensor) -> Tensor:
    return vh[:2].T.clone()


def directions_as_rows(x: Tensor, u: Tensor, s: Tensor, vh: Tensor) -> Tensor:
    return vh[:2].clone()


def second_first(x: Tensor, u: Tensor, s: Tensor, vh: Tensor) -> Tensor:
    return x @ vh[:2].flip(0).T


def first_two_columns(x: Tensor, u: Tensor, s: Tensor, vh: Tensor) -> Tensor:
    return x[:, :2]


def as_rows(x: Tensor, u: Tensor, s: Tensor, vh: Tensor) -> Tensor:
    return (x @ vh[:2].T).T


def s_twice(x: Tensor, u: Tensor, s: Tensor, vh: Tensor) -> Tensor:
    return x @ vh[:2].T * s[:2]


for function, sentence in (
    (
        without_s,
        "Your positions are U without S: both directions get the same spread, and the plane is"
        " stretched. A position is U · S, or the centred x times the direction.",
    ),
    (columns_of_vh, "You took columns of Vh. The directions are its rows: Vh[:2]."),
    (last_two, "You took the last two directions, those of least variance."),
    (all_directions, "You return the positions along all directions. Keep the first two."),
    (the_directions, "You return the directions. The positions of the points are asked for."),
    (directions_as_rows, "These are the directions, not the positions."),
    (second_first, "Your two columns are swapped: the direction of most variance comes first."),
    (
        first_two_columns,
        "You return two columns of x itself: the directions are computed and not used.",
    ),
    (as_rows, "Your positions have the shape (2, N); (N, 2) is asked for, one row per point."),
    (s_twice, "Your positions are multiplied by S once more: x times a direction contains it."),
):
    _alone(principal_plane, sentence, place=function)


def shares_first(positions: Tensor, shares: Tensor) -> tuple:
    return shares, positions


principal_plane.mistake(
    "The positions come first, then the shares; yours are swapped.", order=shares_first
)


@principal_plane.wrong(
    "The directions are found in centred points, but the positions are those of points that are"
    " not centred: the whole plane is shifted away from 0."
)
def positions_not_centred(x: Tensor) -> tuple:
    _, s, vh = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    return x @ vh[:2].T, s[:2].square() / s.square().sum()


@principal_plane.wrong(
    "By torch.linalg.eigh they are sorted from small to large: the first two directions are those"
    " of least variance. Take the last two, the very last first."
)
def smallest_first(x: Tensor) -> tuple:
    x = x - x.mean(0)
    values, vectors = torch.linalg.eigh(x.T @ x)
    return x @ vectors[:, :2], values[:2] / values.sum()


@principal_plane.wrong(
    "By torch.linalg.eigh they are sorted from small to large: of the last two directions, the very"
    " last has the most variance and comes first. Yours are swapped, positions and shares."
)
def last_two_in_their_order(x: Tensor) -> tuple:
    x = x - x.mean(0)
    values, vectors = torch.linalg.eigh(x.T @ x)
    return x @ vectors[:, -2:], values[-2:] / values.sum()


@principal_plane.wrong(
    "You return variances, S² / (N − 1), and not shares. Divide by the sum over all directions."
)
def variances_for_shares(x: Tensor) -> tuple:
    s = torch.linalg.svdvals(x - x.mean(0))
    return _principal_plane(x)[0], s[:2].square() / (len(x) - 1)


@principal_plane.wrong(
    "The points are centred in place (x -= …): the lab's codes would be changed for the cells that"
    " follow. Write x = x - x.mean(0)."
)
def centred_in_place(x: Tensor) -> tuple:
    x -= x.mean(0)
    return _principal_plane(x)


@principal_plane.wrong("Only the positions come back; return (positions, shares).")
def positions_alone(x: Tensor) -> Tensor:
    return _principal_plane(x)[0]


@principal_plane.also_right
def by_eigenvectors(x: Tensor) -> tuple:
    x = (x - x.mean(dim=0, keepdim=True)).double()
    values, vectors = torch.linalg.eigh(torch.cov(x.T))
    positions = x @ vectors.flip(1)[:, :2]
    return positions.float(), (values.flip(0) / values.sum())[:2].float()


@principal_plane.also_right
def by_u_and_s(x: Tensor) -> list:
    u, s, _ = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    return [u[:, :2] * s[:2], (s**2 / (s**2).sum())[:2]]
