"""Lab 04: the Fréchet distance, MMD, precision and recall, a density of codes, a VAE-GAN's loss."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.exercises.core import Exercise, Function, Observation
from labkit.models.gan import Discriminator
from labkit.models.vae import kl_divergence, reparameterize

Probe = Callable[[torch.Generator], tuple]


def _number(value: Any) -> Any:
    """A float, whether it came as a float, a NumPy number or a tensor of one; else what it is."""
    if isinstance(value, Tensor):
        if value.numel() != 1:
            return f"a tensor of shape {tuple(value.shape)}"
        value = value.detach().item()
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, complex):
        return f"the complex number {value:.4g}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return value if value is None else f"{type(value).__name__}: {value!r:.60}"


def _look_at(probes: dict[str, Probe], parts: tuple[str, ...]) -> Callable[[Function], Observation]:
    """Observes a function that returns a number, or as many as there are parts, for each probe."""

    def observe(f: Function) -> Observation:
        seen: Observation = {}
        for name, probe in probes.items():
            given = probe(torch.Generator().manual_seed(0))
            before = [a.clone() if isinstance(a, Tensor) else a for a in given]
            found = f(*given)
            many = isinstance(found, tuple | list) or (
                isinstance(found, Tensor | np.ndarray) and found.ndim == 1 and len(parts) > 1
            )
            if len(parts) > 1:
                n = f"{len(found)} values" if many else "one value"
                if isinstance(found, str | dict | set) or found is None:
                    n = str(_number(found))
                seen["what is returned"] = n
                found = found if many else [found]
            else:
                found = [found]
            for k, value in enumerate(found):
                part = parts[k] if k < len(parts) and len(found) == len(parts) else f"value {k + 1}"
                seen[f"{part}, {name},"] = _number(value)
            for old, now in zip(before, given, strict=True):
                if isinstance(old, Tensor) and not torch.equal(old, now):
                    seen["it changes its arguments in place"] = True
        return seen

    return observe


def _alone(task: Exercise, sentence: str, **switches: Any) -> None:
    """A mistake that is not tried together with others: pairs take time."""
    function = functools.partial(task.reference, **switches)
    (key,) = switches
    function.__name__ = f"{key} {len(task.mistakes)}"  # type: ignore
    task.wrong(sentence)(function)


# ── mean_and_covariance(x) → mean (D,), covariance (D, D) ──


def _centred(x: Tensor) -> Tensor:
    return x - x.mean(0)


def _as_it_is(value: Any) -> Any:
    return value


def _outer_products(x: Tensor) -> Tensor:
    return x.T @ x


def _mean_and_covariance(
    x: Tensor,
    *,
    average=lambda x: x.mean(0),
    centre=_centred,
    product=_outer_products,
    count=lambda n: n - 1,
    finish=_as_it_is,
) -> tuple[Tensor, Tensor]:
    return average(x), finish(product(centre(x)) / count(len(x)))


mean_and_covariance = Exercise(
    "mean_and_covariance",
    _mean_and_covariance,
    probes=[
        lambda g: (torch.tensor([[1.0, 2.0], [3.0, 8.0], [8.0, 5.0]]),),
        lambda g: (
            torch.randn(11, 5, generator=g) @ torch.randn(5, 5, generator=g)
            + torch.tensor([3.0, -1.0, 0.5, 7.0, 2.0]),
        ),
    ],
    points=2,
    right="From now on, every Fréchet distance sees only these two. Notice what is thrown away:"
    " everything but the first two moments.",
    hints=(
        "The mean over the images is x.mean(0). Subtract it from each row first.",
        "Σ has a row and a column per feature: (D, N) times (N, D), over N − 1.",
        "There is torch.cov, too: it wants the features as rows, so give it x.T.",
    ),
    tell=("the mean", "the covariance"),
    gradients=False,
)

for sentence, switches in (
    (
        "The features are not centred: with no mean subtracted, this is E[x xᵀ], and the mean is"
        " counted a second time in the covariance.",
        dict(centre=_as_it_is),
    ),
    (
        "You centre each image by its own mean over the features. The mean is over the images,"
        " dim 0.",
        dict(centre=lambda x: x - x.mean(1, keepdim=True)),
    ),
    (
        "You centre all features by one number, the mean over everything. Each feature has a mean"
        " of its own.",
        dict(centre=lambda x: x - x.mean()),
    ),
    (
        "The covariance is divided by N and not by N − 1: it comes out too small, and most so for"
        " few images.",
        dict(count=lambda n: n),
    ),
    (
        "The covariance is not divided by N − 1: it is a sum over the images and grows with their"
        " number.",
        dict(count=lambda n: 1),
    ),
    (
        "Rows and columns are mixed up in the covariance: yours is (N, N), from image to image."
        " It should be (D, D), from feature to feature.",
        dict(product=lambda x: x @ x.T),
    ),
    (
        "Only the variances are kept, (D,). How features vary together is the rest of the"
        " covariance, (D, D).",
        dict(finish=torch.diagonal),
    ),
    (
        "Everything off the diagonal is 0: you treat the features as if they were uncorrelated.",
        dict(finish=lambda c: c.diagonal().diag()),
    ),
    (
        "This is the matrix of correlations, with 1 on its diagonal. The Fréchet distance needs"
        " the scale of the features, too.",
        dict(finish=lambda c: c / (c.diagonal()[:, None] * c.diagonal()).sqrt()),
    ),
    (
        "The mean is over the features of an image, (N,). It should be over the images, (D,).",
        dict(average=lambda x: x.mean(1)),
    ),
    (
        "The mean is over everything, one number. Each feature has a mean of its own, (D,).",
        dict(average=lambda x: x.mean()),
    ),
    (
        "The mean has shape (1, D): keepdim kept a dimension that it should not have here.",
        dict(average=lambda x: x.mean(0, keepdim=True)),
    ),
    ("You return the sum of the features, not their mean.", dict(average=lambda x: x.sum(0))),
):
    mean_and_covariance.mistake(sentence, **switches)


@mean_and_covariance.wrong("The two are right, in the other order: first the mean, then Σ.")
def covariance_first(x: Tensor) -> tuple[Tensor, Tensor]:
    return _mean_and_covariance(x)[::-1]


@mean_and_covariance.wrong(
    "Your mean is one number, over everything, and it is also what you centre by. Take the mean"
    " over the images, dim 0: each feature has a mean of its own, (D,)."
)
def one_number_for_all(x: Tensor) -> tuple[Tensor, Tensor]:
    return _mean_and_covariance(x, average=torch.mean, centre=lambda x: x - x.mean())


@mean_and_covariance.wrong("Only the covariance comes back; return the mean, too: (mean, Σ).")
def covariance_alone(x: Tensor) -> Tensor:
    return _mean_and_covariance(x)[1]


@mean_and_covariance.wrong(
    "This is what x.cov() gives for x as it is: it takes rows for features, so your Σ is (N, N)"
    " and centred by image. Transpose x first."
)
def rows_as_features(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.mean(0), x.cov()


@mean_and_covariance.wrong(
    "Both are NumPy arrays. Use the functions of torch, or make tensors of them at the end."
)
def in_numpy(x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    return x.numpy().mean(0), np.cov(x.numpy().T)


@mean_and_covariance.wrong(
    "Your function changes x itself (x -= …), so the mean that it returns is 0, and so are all"
    " means of these features from then on. Give the centred features a name of their own."
)
def centred_in_place(x: Tensor) -> tuple[Tensor, Tensor]:
    x -= x.mean(0)
    return x.mean(0), x.T @ x / (len(x) - 1)


@mean_and_covariance.wrong(
    "The covariance is divided by the number of features less 1. N is the number of images, len(x)."
)
def by_the_features(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.mean(0), _centred(x).T @ _centred(x) / (x.shape[1] - 1)


@mean_and_covariance.wrong("Both are lists. Return tensors, (D,) and (D, D).")
def as_lists(x: Tensor) -> tuple[list, list]:
    mean, covariance = _mean_and_covariance(x)
    return mean.tolist(), covariance.tolist()


@mean_and_covariance.also_right
def by_cov(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.mean(0), torch.cov(x.T)


@mean_and_covariance.also_right
def by_second_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    n, mean = len(x), x.double().mean(0)
    second = torch.einsum("ni,nj->ij", x.double(), x.double()) / n
    return mean.float(), (n / (n - 1) * (second - torch.outer(mean, mean))).float()


# ── frechet_terms(mean_x, cov_x, mean_y, cov_y) → ‖Δμ‖², the term of the covariances ──


def _turned(a: float, b: float, degrees: float) -> Tensor:
    """A covariance of 2 features with variances a and b along axes turned by an angle."""
    angle = torch.deg2rad(torch.tensor(degrees, dtype=torch.double))
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).view(2, 2)
    return turn @ torch.diag(torch.tensor([a, b], dtype=torch.double)) @ turn.T


def _ellipses(g: torch.Generator) -> tuple:
    means = torch.tensor([[1.0, -2.0], [4.0, 2.0]], dtype=torch.double)
    return means[0], _turned(4, 1, 20), means[1], _turned(9, 0.25, 65)


def _of_five(g: torch.Generator) -> tuple:
    parts = torch.randn(2, 5, 5, generator=g, dtype=torch.double)
    covariances = parts @ parts.mT + 0.1 * torch.eye(5, dtype=torch.double)
    means = torch.randn(2, 5, generator=g, dtype=torch.double)
    return means[0], covariances[0], means[1], covariances[1]


def _one_image(g: torch.Generator) -> tuple:
    mean, zero = torch.tensor([1.0, 0.5], dtype=torch.double), torch.zeros(2, 2).double()
    return mean, _turned(4, 1, 20), 0 * mean, zero


def _of_few_images(g: torch.Generator) -> tuple:
    """Fewer images than features: most eigenvalues are 0, and rounding makes some negative."""
    x, y = torch.randn(2, 6, 30, generator=g, dtype=torch.double)
    return x.mean(0), x.T.cov(), y.mean(0), y.T.cov()


def _sum_of_roots(cov_x: Tensor, cov_y: Tensor) -> Tensor:
    return torch.linalg.eigvals(cov_x @ cov_y).real.clamp(min=0).sqrt().sum()


def _root(a: Tensor) -> Tensor:
    """The symmetric root of a positive matrix."""
    values, vectors = torch.linalg.eigh(a)
    return vectors @ values.clamp(min=0).sqrt().diag() @ vectors.T


def _squared_norm(difference: Tensor) -> Tensor:
    return difference.square().sum()


def _frechet_terms(
    mean_x: Tensor,
    cov_x: Tensor,
    mean_y: Tensor,
    cov_y: Tensor,
    *,
    norm=_squared_norm,
    root=_sum_of_roots,
    factor=2,
    traces=lambda a, b: a.trace() + b.trace(),
) -> tuple[Tensor, Tensor]:
    return norm(mean_x - mean_y), traces(cov_x, cov_y) - factor * root(cov_x, cov_y)


frechet_terms = Exercise(
    "frechet_terms",
    _frechet_terms,
    observe=_look_at(
        {
            "two ellipses (means (1, −2), (4, 2); variances 4, 1 and 9, ¼; turned 20°, 65°)": (
                _ellipses
            ),
            "five features": _of_five,
            "when the second set is one image many times (Σ_y = 0)": _one_image,
            "six images of thirty features (Σ without an inverse)": _of_few_images,
        },
        ("‖μ_x − μ_y‖²", "the term of the covariances"),
    ),
    points=3,
    right="Every Fréchet distance below is their sum. Notice that two sets can agree in one term"
    " and be far apart in the other.",
    hints=(
        "The first term: the difference of the means, each entry squared, then the sum.",
        "The trace of a root is the sum of the roots of the eigenvalues:"
        " torch.linalg.eigvals(cov_x @ cov_y).",
        "These eigenvalues come as complex numbers whose imaginary part is rounding: take .real,"
        " clamp at 0, .sqrt(), .sum(). Subtract twice this sum from both traces.",
    ),
)


def _elementwise(cov_x: Tensor, cov_y: Tensor) -> Tensor:
    return (cov_x @ cov_y).sqrt().trace()


for sentence, switches in (
    (
        "The root is elementwise: .sqrt() takes the root of each entry. A root of the matrix A is"
        " a matrix R with R R = A; its trace is the sum of the roots of A's eigenvalues.",
        dict(root=_elementwise),
    ),
    (
        "The root of each covariance is elementwise (.sqrt()), and so it is not a root of a"
        " matrix: NaN wherever features vary against each other.",
        dict(root=lambda a, b: (a.sqrt() @ b.sqrt()).trace()),
    ),
    (
        "Only the variances on the diagonals enter: Σ √(σ_x² σ_y²). This would be right for"
        " features that are not correlated; how ellipses are turned is not seen.",
        dict(root=lambda a, b: (a.diagonal() * b.diagonal()).sqrt().sum()),
    ),
    (
        "Here tr(Σ_x^½ Σ_y^½) stands for tr((Σ_x Σ_y)^½). They agree only if both ellipses are"
        " turned alike.",
        dict(root=lambda a, b: (_root(a) @ _root(b)).trace()),
    ),
    (
        "The eigenvalues are those of an elementwise product: `*` multiplies entry by entry, `@`"
        " multiplies matrices.",
        dict(root=lambda a, b: torch.linalg.eigvals(a * b).real.clamp(min=0).sqrt().sum()),
    ),
    ("The root is missing: tr(Σ_x Σ_y) is subtracted.", dict(root=lambda a, b: (a @ b).trace())),
    (
        "This is the root of the trace. The trace of the root adds the roots of the eigenvalues.",
        dict(root=lambda a, b: (a @ b).trace().sqrt()),
    ),
    (
        "The roots of the singular values are added, but the product of two covariances is not"
        " symmetric: its singular values are not its eigenvalues.",
        dict(root=lambda a, b: torch.linalg.svdvals(a @ b).sqrt().sum()),
    ),
    (
        "The function eigvalsh is for symmetric matrices and looks at one half of them only. Σ_x"
        " Σ_y is not symmetric; use eigvals.",
        dict(root=lambda a, b: torch.linalg.eigvalsh(a @ b).clamp(min=0).sqrt().sum()),
    ),
    (
        "An imaginary part is kept: the second term is a complex number. It is only rounding; take"
        " the real part.",
        dict(root=lambda a, b: torch.linalg.eigvals(a @ b).sqrt().sum()),
    ),
    (
        "The root is of Σ_x times itself: the other covariance is missing from it.",
        dict(root=lambda a, b: a.trace()),
    ),
    (
        "The factor 2 is missing before the root: two equal sets are then not at distance 0.",
        dict(factor=1),
    ),
    ("The root is added, not subtracted.", dict(factor=-2)),
    (
        "The traces are missing: only the root is left.",
        dict(traces=lambda a, b: torch.zeros(()).double()),
    ),
    ("The trace of Σ_y is missing.", dict(traces=lambda a, b: a.trace())),
    ("The sum over the whole matrices is not the trace.", dict(traces=lambda a, b: (a + b).sum())),
    (
        "The difference of the means is not squared: ‖Δμ‖ stands for ‖Δμ‖², and its unit"
        " differs from that of the covariances.",
        dict(norm=torch.linalg.vector_norm),
    ),
    (
        "The squares of the differences are averaged. They add up: the norm is over all features.",
        dict(norm=lambda d: d.square().mean()),
    ),
    (
        "The differences of the means are added and then squared. Square each of them first.",
        dict(norm=lambda d: d.sum().square()),
    ),
    (
        "The squares of the differences are not added: the first term should be one number.",
        dict(norm=torch.square),
    ),
    ("Here Σ |Δμ| stands for Σ Δμ².", dict(norm=lambda d: d.abs().sum())),
):
    frechet_terms.mistake(sentence, **switches)


_alone(
    frechet_terms,
    "You take the root of negative eigenvalues, and that is NaN. Those of Σ_x Σ_y are ≥ 0, so a"
    " negative one is 0 with a rounding error, as soon as there are fewer images than features:"
    " set it to 0 before the root.",
    root=lambda a, b: torch.linalg.eigvals(a @ b).real.sqrt().sum(),
)


@frechet_terms.wrong("The two terms are right, in the other order: first the means'.")
def covariances_first(mean_x: Tensor, cov_x: Tensor, mean_y: Tensor, cov_y: Tensor) -> tuple:
    return _frechet_terms(mean_x, cov_x, mean_y, cov_y)[::-1]


@frechet_terms.wrong("You return their sum. Return the two terms; the lab looks at each.")
def summed(mean_x: Tensor, cov_x: Tensor, mean_y: Tensor, cov_y: Tensor) -> Tensor:
    return sum(_frechet_terms(mean_x, cov_x, mean_y, cov_y))


@frechet_terms.wrong(
    "You took a root of the second term, too. Both terms are squared distances, and so is d²."
)
def root_of_the_term(mean_x: Tensor, cov_x: Tensor, mean_y: Tensor, cov_y: Tensor) -> tuple:
    means, covariances = _frechet_terms(mean_x, cov_x, mean_y, cov_y)
    return means, covariances.sqrt()


@frechet_terms.wrong(
    "You took the root of both terms: distances, where squared distances are asked for."
)
def both_roots(mean_x: Tensor, cov_x: Tensor, mean_y: Tensor, cov_y: Tensor) -> tuple:
    means, covariances = _frechet_terms(mean_x, cov_x, mean_y, cov_y)
    return means.sqrt(), covariances.sqrt()


@frechet_terms.wrong("Only the means' term comes back; return both.")
def means_alone(mean_x: Tensor, cov_x: Tensor, mean_y: Tensor, cov_y: Tensor) -> Tensor:
    return (mean_x - mean_y).square().sum()


@frechet_terms.also_right
def by_symmetric_roots(mean_x: Tensor, cov_x: Tensor, mean_y: Tensor, cov_y: Tensor) -> tuple:
    r = _root(cov_x)
    roots = torch.linalg.eigvalsh(r @ cov_y @ r).clamp(min=0).sqrt()
    return ((mean_x - mean_y) ** 2).sum().item(), float((cov_x + cov_y).trace() - 2 * roots.sum())


@frechet_terms.also_right
def by_scipy(mean_x: Tensor, cov_x: Tensor, mean_y: Tensor, cov_y: Tensor) -> tuple:
    from scipy.linalg import svdvals

    sizes, turns = zip(*(np.linalg.eigh(c.numpy()) for c in (cov_x, cov_y)), strict=True)
    a, b = (np.sqrt(s.clip(0)) * v for s, v in zip(sizes, turns, strict=True))
    first = np.square(mean_x.numpy() - mean_y.numpy()).sum()
    return first, np.trace(cov_x.numpy() + cov_y.numpy()) - 2 * svdvals(a.T @ b).sum()


# ── unbiased_mmd(x, y) → a number ──


def _cubic(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b.T / a.shape[1] + 1) ** 3


def _among(k: Tensor) -> Tensor:
    n = len(k)
    return (k.sum() - k.trace()) / (n * (n - 1))


def _unbiased_mmd(
    x: Tensor,
    y: Tensor,
    *,
    kernel=_cubic,
    within=_among,
    between=torch.mean,
    factor=2,
    finish=_as_it_is,
) -> Tensor:
    pairs = within(kernel(x, x)) + within(kernel(y, y))
    return finish(pairs - factor * between(kernel(x, y)))


def _few(g: torch.Generator) -> tuple:
    x = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, 1.0]])
    return x, torch.tensor([[2.0, 1.0], [1.0, -1.0]])


def _more(g: torch.Generator) -> tuple:
    return torch.randn(7, 5, generator=g), torch.randn(4, 5, generator=g) + 0.5


unbiased_mmd = Exercise(
    "unbiased_mmd",
    _unbiased_mmd,
    observe=_look_at(
        {
            "x = (1, 0), (0, 2), (−1, 1) and y = (2, 1), (1, −1)": _few,
            "seven x and four y of five features": _more,
        },
        ("the result",),
    ),
    points=3,
    right="It stands beside the Fréchet distance in the figure below. Notice that leaving out the"
    " pairs of an image with itself is what makes it unbiased, and that it may be negative.",
    hints=(
        "Three matrices of k: x with x, y with y, x with y. Each is one line: x @ y.T and so on.",
        "Within a set an image must not meet itself: sum without the diagonal (the trace), over"
        " n (n − 1).",
        "Between the sets all pairs count: twice the mean of the third matrix is subtracted.",
    ),
)


def _off_diagonal_over_all(k: Tensor) -> Tensor:
    return (k.sum() - k.trace()) / len(k) ** 2


for sentence, switches in (
    (
        "The diagonal is kept: each image meets itself, and k(x, x) is large. Your estimate is"
        " biased, as the Fréchet distance is: too large, most so for few images.",
        dict(within=torch.mean),
    ),
    (
        "The diagonal is kept in the sum, while you divide by n (n − 1), the number of pairs"
        " without it.",
        dict(within=lambda k: k.sum() / (len(k) * (len(k) - 1))),
    ),
    (
        "The diagonal is left out of the sum, but you still divide by n²: there are n (n − 1)"
        " pairs.",
        dict(within=_off_diagonal_over_all),
    ),
    (
        "The pairs within a set are added and not averaged: divide by n (n − 1).",
        dict(within=lambda k: k.sum() - k.trace()),
    ),
    (
        "Only the pairs with i < j are added, and each counts once: divide by n (n − 1) / 2.",
        dict(within=lambda k: k.triu(1).sum() / (len(k) * (len(k) - 1))),
    ),
    (
        "The factor 2 is missing before the pairs between the sets: for one distribution the"
        " three parts should cancel.",
        dict(factor=1),
    ),
    ("The pairs between the sets are added; subtract them.", dict(factor=-2)),
    (
        "The pairs between the sets are added up and not averaged: divide by n m.",
        dict(between=torch.sum),
    ),
    (
        "You left the diagonal out between the sets, too. There x_i and y_i are different images:"
        " all n m pairs count.",
        dict(between=lambda k: (k.sum() - k.diagonal().sum()) / (k.numel() - min(k.shape))),
    ),
    (
        "The product is not divided by the number of features D: the cubes then drown all the"
        " rest.",
        dict(kernel=lambda a, b: (a @ b.T + 1) ** 3),
    ),
    (
        "Here the + 1 of the kernel is divided by D, too: k(a, b) = (aᵀb/D + 1)³.",
        dict(kernel=lambda a, b: ((a @ b.T + 1) / a.shape[1]) ** 3),
    ),
    (
        "Your kernel is the distance of two points. It should be a similarity, large for points"
        " that are alike: made of the product aᵀb.",
        dict(kernel=torch.cdist),
    ),
    (
        "Within the kernel you have the distance of two points in place of their product aᵀb.",
        dict(kernel=lambda a, b: (torch.cdist(a, b) / a.shape[1] + 1) ** 3),
    ),
    (
        "The + 1 of the kernel is missing (or outside of the cube, where it cancels): only third"
        " moments are then compared, and neither the mean nor the covariance.",
        dict(kernel=lambda a, b: (a @ b.T / a.shape[1]) ** 3),
    ),
    (
        "The kernel is squared, not cubed: it compares means and covariances only.",
        dict(kernel=lambda a, b: (a @ b.T / a.shape[1] + 1) ** 2),
    ),
    (
        "The kernel has no power: with it only the means are compared.",
        dict(kernel=lambda a, b: a @ b.T / a.shape[1] + 1),
    ),
    (
        "You divide by the number of images where the number of features belongs:"
        " D = x.shape[1], and len(x) is N.",
        dict(kernel=lambda a, b: (a @ b.T / len(a) + 1) ** 3),
    ),
    (
        "You took a root at the end. MMD² itself is wanted: it is unbiased, and where it is"
        " negative it has no root.",
        dict(finish=lambda v: v.abs().sqrt() if v > 0 else v * torch.nan),
    ),
    (
        "Negative values are cut off at 0. Then the mean over many draws is above 0, and the bias"
        " is back.",
        dict(finish=lambda v: v.clamp(min=0)),
    ),
    ("You take the absolute value at the end. It may be negative.", dict(finish=torch.abs)),
    ("The sign is reversed: equal pairs within a set count as +.", dict(finish=torch.neg)),
):
    unbiased_mmd.mistake(sentence, **switches)


@unbiased_mmd.wrong(
    "The pairs among the y are divided by the number of pairs among the x: the sets may differ in"
    " size."
)
def one_size_for_both(x: Tensor, y: Tensor) -> Tensor:
    pairs = len(x) * (len(x) - 1)
    parts = [(k.sum() - k.trace()) / pairs for k in (_cubic(x, x), _cubic(y, y))]
    return sum(parts) - 2 * _cubic(x, y).mean()


@unbiased_mmd.wrong(
    "The pairs between the sets are treated like those within: without a diagonal, over n (n − 1)."
    " But x_i and y_i are different images, and there are n m pairs."
)
def between_like_within(x: Tensor, y: Tensor) -> Tensor:
    return _among(_cubic(x, x)) + _among(_cubic(y, y)) - 2 * _among(_cubic(x, y))


@unbiased_mmd.also_right
def pair_by_pair(x: Tensor, y: Tensor) -> float:
    def k(a: Tensor, b: Tensor) -> float:
        return ((a * b).mean() + 1).item() ** 3

    def among(s: Tensor) -> float:
        values = [k(a, b) for i, a in enumerate(s) for j, b in enumerate(s) if i != j]
        return sum(values) / len(values)

    between = sum(k(a, b) for a in x for b in y) / (len(x) * len(y))
    return among(x) + among(y) - 2 * between


@unbiased_mmd.also_right
def by_a_mask(x: Tensor, y: Tensor) -> Tensor:
    def among(s: Tensor) -> Tensor:
        return (1 + s @ s.mT / s.shape[-1]).pow(3)[~torch.eye(len(s), dtype=torch.bool)].mean()

    return among(x) + among(y) - 2 * (1 + x @ y.mT / x.shape[-1]).pow(3).mean()


# ── precision_recall(real, generated, k=3) → two numbers ──


def _reach(d: Tensor, k: int) -> Tensor:
    """From distances within a set (N, N), that to the k-th neighbour among the others, (N,)."""
    return d.sort(1).values[:, k]


def _in_some_ball(d: Tensor, radii: Tensor) -> Tensor:
    """The share of columns that lie in a ball around some row, from distances (N, M)."""
    return (d < radii[:, None]).any(0).float().mean()


def _precision_recall(
    real: Tensor,
    generated: Tensor,
    k: int = 3,
    *,
    reach=_reach,
    share=_in_some_ball,
    distance=torch.cdist,
    balls=lambda r, g: (r, g),
) -> tuple[Tensor, Tensor]:
    radii_r, radii_g = (reach(torch.cdist(a, a), k) for a in (real, generated))
    around_real, around_generated = balls(radii_r, radii_g)
    d = distance(real, generated)
    return share(d, around_real), share(d.T, around_generated)


def _spread(n: int, m: int, size: float) -> Probe:
    def probe(g: torch.Generator, k: int = 3) -> tuple:
        generated = size * torch.randn(m, 2, generator=g) + torch.tensor([0.6, -0.3])
        return torch.randn(n, 2, generator=g), generated, k

    return probe


def _on_a_line(g: torch.Generator) -> tuple:
    real, generated = [0.0, 1.0, 3.0, 7.0, 20.0], [2.5, 2.7, 3.2, 60.0]
    return torch.tensor(real)[:, None], torch.tensor(generated)[:, None], 1


precision_recall = Exercise(
    "precision_recall",
    _precision_recall,
    observe=_look_at(
        {
            "real at 0, 1, 3, 7, 20, generated at 2.5, 2.7, 3.2, 60, k = 1": _on_a_line,
            "29 real and 23 generated points of a smaller spread, k = 3": _spread(29, 23, 0.6),
            "31 real and 37 generated points of a larger spread, k = 2": (
                lambda g: (*_spread(31, 37, 1.7)(g)[:2], 2)
            ),
            "41 real and 17 generated points, k = 5": lambda g: (*_spread(41, 17, 1.0)(g)[:2], 5),
        },
        ("precision", "recall"),
    ),
    points=3,
    right="These two tell failures apart from here on. Notice the symmetry: recall is the"
    " precision of the real images among the generated ones.",
    hints=(
        "Take torch.cdist(a, b): it returns all distances, (N, M). Within one set, sort each row:"
        " the first entry is the image itself, at 0.",
        "A generated image counts if it lies in at least one real image's ball: compare (N, M)"
        " with the radii (N, 1), then .any over the real ones, then the mean.",
        "Write the precision as a function of (real, generated); recall is the same function"
        " with the two sets exchanged.",
    ),
)

for sentence, switches in (
    (
        "The k-th neighbour counts the image itself, at distance 0, as its first: your balls reach"
        " to neighbour k − 1 only.",
        dict(reach=lambda d, k: d.sort(1).values[:, k - 1]),
    ),
    (
        "Your balls reach to neighbour k + 1: entry 0 of a sorted row is the image itself, so"
        " entry k is the k-th neighbour.",
        dict(reach=lambda d, k: d.sort(1).values[:, k + 1]),
    ),
    (
        "The argument k is not used: your balls reach to the nearest neighbour always.",
        dict(reach=lambda d, k: d.sort(1).values[:, 1]),
    ),
    (
        "The argument k is not used: your balls reach to the third neighbour always.",
        dict(reach=lambda d, k: d.sort(1).values[:, 3]),
    ),
    (
        "The rows are sorted from far to near: your balls reach to the k-th farthest image.",
        dict(reach=lambda d, k: d.sort(1, descending=True).values[:, k - 1]),
    ),
    (
        "All balls of a set have one size, the mean. Each image should have its own: large where"
        " images are rare.",
        dict(reach=lambda d, k: _reach(d, k).mean().expand(len(d))),
    ),
    (
        "All balls of a set have one size, the largest.",
        dict(reach=lambda d, k: _reach(d, k).amax().expand(len(d))),
    ),
    (
        "Your radius is the mean distance to the k nearest, not the distance to the k-th.",
        dict(reach=lambda d, k: d.sort(1).values[:, 1 : k + 1].mean(1)),
    ),
    (
        "This is the share of *balls* with some image in them: you asked `any` along the wrong"
        " dimension. Wanted is the share of images that lie in some ball.",
        dict(share=lambda d, r: (d < r[:, None]).any(1).float().mean()),
    ),
    (
        "This is the share of pairs: how many balls an image lies in does not count, only whether"
        " it lies in any.",
        dict(share=lambda d, r: (d < r[:, None]).float().mean()),
    ),
    (
        "An image counts only if it lies in *all* balls. One is enough.",
        dict(share=lambda d, r: (d < r[:, None]).all(0).float().mean()),
    ),
    (
        "Only the ball of the nearest image is asked. Another image, farther away, may have a"
        " larger ball that reaches.",
        dict(share=lambda d, r: (d.amin(0) < r[d.argmin(0)]).float().mean()),
    ),
    (
        "The number of images is returned, not their share.",
        dict(share=lambda d, r: (d < r[:, None]).any(0).float().sum()),
    ),
    (
        "Percentages are returned; shares are between 0 and 1.",
        dict(share=lambda d, r: 100 * _in_some_ball(d, r)),
    ),
    (
        "One value per image comes back: whether it lies in a ball. The share is their mean.",
        dict(share=lambda d, r: (d < r[:, None]).any(0).float()),
    ),
    (
        "You divide by the number of the other set: precision is a share of the generated images,"
        " recall one of the real.",
        dict(share=lambda d, r: (d < r[:, None]).any(0).float().sum() / len(r)),
    ),
    (
        "The comparison is reversed: you count images outside of balls.",
        dict(share=lambda d, r: (d > r[:, None]).any(0).float().mean()),
    ),
    (
        "Squared distances are compared with radii that are not squared.",
        dict(distance=lambda a, b: torch.cdist(a, b).square()),
    ),
    (
        "Distances are not Euclidean here: the differences are added as they are (p = 1).",
        dict(distance=lambda a, b: torch.cdist(a, b, p=1)),
    ),
):
    precision_recall.mistake(sentence, **switches)


@precision_recall.wrong(
    "Precision and recall are swapped: precision asks of the generated images whether they lie"
    " among the real ones."
)
def in_the_other_order(real: Tensor, generated: Tensor, k: int = 3) -> tuple[Tensor, Tensor]:
    return _precision_recall(real, generated, k)[::-1]


@precision_recall.wrong(
    "Each image is asked about its *own* ball: a generated image counts if some real one lies in"
    " its ball. Precision needs the balls around the real images, recall those around the"
    " generated ones."
)
def balls_of_their_own(real: Tensor, generated: Tensor, k: int = 3) -> tuple[Tensor, Tensor]:
    r, g = (_reach(torch.cdist(a, a), k) for a in (real, generated))
    near = torch.cdist(real, generated)
    precision, recall = (near < g).any(0), (near < r[:, None]).any(1)
    return precision.float().mean(), recall.float().mean()


@precision_recall.wrong(
    "The radii reach into the other set. The ball of a real image ends at its k-th neighbour among"
    " the real images, that of a generated one at its k-th among the generated."
)
def radii_to_the_other_set(real: Tensor, generated: Tensor, k: int = 3) -> tuple[Tensor, Tensor]:
    d = torch.cdist(real, generated)
    r, g = d.sort(1).values[:, k - 1], d.T.sort(1).values[:, k - 1]
    return _in_some_ball(d, r), _in_some_ball(d.T, g)


@precision_recall.wrong(
    "The radii reach into the other set, to neighbour k + 1 there. Take the distances within a set:"
    " its k-th neighbour among its own kind ends a ball."
)
def radii_beyond(real: Tensor, generated: Tensor, k: int = 3) -> tuple[Tensor, Tensor]:
    d = torch.cdist(real, generated)
    r, g = d.sort(1).values[:, k], d.T.sort(1).values[:, k]
    return _in_some_ball(d, r), _in_some_ball(d.T, g)


@precision_recall.wrong(
    "The precision is right, but recall uses the balls around the real images again: the share of"
    " them with a generated image inside. Recall needs the balls around the generated images."
)
def real_balls_for_both(real: Tensor, generated: Tensor, k: int = 3) -> tuple[Tensor, Tensor]:
    d, radii = torch.cdist(real, generated), _reach(torch.cdist(real, real), k)
    return _in_some_ball(d, radii), (d < radii[:, None]).any(1).float().mean()


@precision_recall.wrong("Both values are the precision: recall needs balls around generated ones.")
def precision_twice(real: Tensor, generated: Tensor, k: int = 3) -> tuple[Tensor, Tensor]:
    return (_precision_recall(real, generated, k)[0],) * 2


@precision_recall.wrong("Only the precision comes back; return both: (precision, recall).")
def precision_alone(real: Tensor, generated: Tensor, k: int = 3) -> Tensor:
    return _precision_recall(real, generated, k)[0]


@precision_recall.also_right
def by_one_function_twice(real: Tensor, generated: Tensor, k: int = 3) -> tuple:
    def among(a: Tensor, b: Tensor) -> float:
        radii = torch.cdist(a, a).kthvalue(k + 1, dim=1).values
        return (torch.cdist(b, a) <= radii).any(dim=1).double().mean().item()

    return among(real, generated), among(generated, real)


@precision_recall.also_right
def by_labkit(real: Tensor, generated: Tensor, k: int = 3) -> list:
    from labkit.metrics.prdc import prdc

    found = prdc(real, generated, k)
    return [found["precision"], found["recall"]]


# ── draw_codes(n, weights, means, covariances) → (n, J) ──

DRAWS = 6_000


def _rounded(values: Tensor, step: float) -> Tensor:
    return (values.detach().double() / step).round() * step + 0.0


def _share_near(z: Tensor, means: Tensor) -> Tensor:
    return torch.stack([((z - m).norm(dim=1) < 0.1).double().mean() for m in means])


def _look_at_codes(f: Function) -> Observation:
    """Statistics, rounded so that all right ways to draw look alike."""
    one = torch.tensor([1.0]), torch.tensor([[4.0, -2.0]]), torch.tensor([[[8.0, 4], [4, 4]]])
    z = f(DRAWS, *one)
    if not isinstance(z, Tensor):
        kind = type(z).__name__
        return {"what is returned": f"{kind}, and not a tensor" if z is not None else None}
    seen: Observation = {"the shape for n = 6000": tuple(z.shape)}
    if tuple(z.shape) != (DRAWS, 2):
        return seen
    two = f(7, torch.tensor([0.5, 0.5]), torch.zeros(2, 2), torch.eye(2).repeat(2, 1, 1))
    seen["the shape for n = 7 and two components of weight ½"] = tuple(two.shape)
    name = "of draws from one Gaussian, μ = (4, −2), Σ = ((8, 4), (4, 4))"
    seen[f"the mean {name}"] = _rounded(z.mean(0), 0.5)
    seen[f"the covariance {name}"] = _rounded(z.T.cov(), 2.0)
    away = z - z.mean(0)
    beyond = (away.abs() > 2 * away.std(0)).double().mean().item()  # 4.55 % of a normal
    seen["the draws have the tails of a normal"] = abs(beyond - 0.0455) < 0.012
    seen["the next call draws others"] = not torch.equal(z, f(DRAWS, *one))
    # three points: where do the draws lie?
    weights = torch.tensor([0.3, 0.6, 0.1])
    means = torch.tensor([[0.0, 8.0, 1.0], [5.0, 2.0, -6.0], [-10.0, 0.0, 10.0]])
    three = weights, means, 1e-6 * torch.eye(3).repeat(3, 1, 1)
    z = f(DRAWS, *three)
    near, name = _share_near(z, means), "of three narrow components, weights 0.3, 0.6, 0.1,"
    if near.max() == 1:  # which of them may be left to chance: ask often
        often = {_share_near(f(5, *three), means).argmax().item() for _ in range(30)}
        always = f"always the same, number {1 + min(often)}" if len(often) == 1 else "now this one"
        return seen | {f"the draws of a call come {name} from": f"a single one, {always}"}
    seen[f"the draws of a call come {name} from"] = "several"
    seen[f"the shares {name}"] = _rounded(near, 0.1)
    seen["the mean of these three together"] = _rounded(z.mean(0), 1.0)
    whose = torch.cdist(z, means).argmin(1)
    mixed = (whose[1:] == whose[:-1]).double().mean().item() < 0.6  # 0.46 where all are free
    seen["the components come in a random order"] = mixed
    counts = {tuple(_share_near(f(DRAWS, *three), means).tolist()) for _ in range(3)}
    seen["how many draws a component gets is left to chance"] = len(counts) > 1
    # two components: does each mean meet its own covariance?
    means = torch.tensor([[0.0, 50.0], [0.0, -50.0]])
    covariances = torch.tensor([[[1.0, 0.0], [0.0, 25.0]], [[25.0, 0.0], [0.0, 1.0]]])
    z = f(DRAWS, torch.tensor([0.5, 0.5]), means, covariances)
    for name, part in (("first", z[z[:, 1] > 0]), ("second", z[z[:, 1] <= 0])):
        sizes = part.std(0) if len(part) > 50 else torch.zeros(2)
        seen[f"σ of the {name} of two components, Σ = diag((1, 25)), diag((25, 1))"] = _rounded(
            sizes, 1.0
        )
    return seen


def _component(n: int, weights: Tensor) -> Tensor:
    return torch.multinomial(weights, n, replacement=True)


def _lower(covariances: Tensor) -> Tensor:
    return torch.linalg.cholesky(covariances)


def _fresh(n: int, j: int) -> Tensor:
    return torch.randn(n, j)


def _draw_codes(
    n: int,
    weights: Tensor,
    means: Tensor,
    covariances: Tensor,
    *,
    choose=_component,
    factor=_lower,
    noise=_fresh,
    centre=lambda means, k: means[k],
    width=lambda factors, k: factors[k],
) -> Tensor:
    k = choose(n, weights)
    epsilon = noise(n, means.shape[1])
    stretched = (width(factor(covariances), k) @ epsilon[:, :, None])[:, :, 0]
    return centre(means, k) + stretched


draw_codes = Exercise(
    "draw_codes",
    _draw_codes,
    observe=_look_at_codes,
    points=3,
    right="It draws the codes of your two-stage models. Notice that the decoder is not trained"
    " again: only where its codes come from has changed.",
    hints=(
        "First the component of each draw: torch.multinomial(weights, n, replacement=True), (n,)."
        " Then means[k] is (n, J).",
        "The function torch.linalg.cholesky takes all K covariances at once, (K, J, J). L[k]"
        " is (n, J, J), one matrix per draw.",
        "A matrix for each draw times a vector for each draw: (L[k] @ epsilon[:, :, None])[:, :, 0]"
        " with epsilon = torch.randn(n, J).",
    ),
)


def _std(covariances: Tensor) -> Tensor:
    return covariances.diagonal(dim1=-2, dim2=-1).sqrt().diag_embed()


for sentence, switches in (
    (
        "Here Lᵀ stands for L (or ε for its transpose): your draws have the covariance LᵀL. Only"
        " L Lᵀ is Σ.",
        dict(factor=lambda c: _lower(c).mT),
    ),
    (
        "The noise is multiplied by Σ itself: your draws have the covariance Σ². What is needed is"
        " a root of it, L with L Lᵀ = Σ.",
        dict(factor=_as_it_is),
    ),
    (
        "Only the standard deviations of single dimensions enter: your draws are not correlated,"
        " the codes are.",
        dict(factor=_std),
    ),
    (
        "The variances on the diagonal are used as if they were standard deviations, and the rest"
        " of Σ not at all.",
        dict(factor=lambda c: c.diagonal(dim1=-2, dim2=-1).diag_embed()),
    ),
    (
        "The root of Σ is elementwise (.sqrt()): that is not a matrix L with L Lᵀ = Σ.",
        dict(factor=torch.sqrt),
    ),
    (
        "The noise is not stretched: every component has the covariance I.",
        dict(factor=lambda c: torch.eye(c.shape[-1]).expand_as(c)),
    ),
    ("There is no noise: each draw is the mean of a component.", dict(factor=torch.zeros_like)),
    (
        "The means are missing: all components lie around 0.",
        dict(centre=lambda means, k: torch.zeros_like(means[k])),
    ),
    (
        "All draws lie around one average of the means. A draw belongs to a single component; an"
        " average of a 0 and a 1 is neither.",
        dict(centre=lambda means, k: means.mean(0).expand(len(k), -1)),
    ),
    (
        "The means and the covariances of a draw belong to different components: choose k once.",
        dict(width=lambda factors, k: factors[k[torch.randperm(len(k))]]),
    ),
    (
        "All draws use the covariance of the first component.",
        dict(width=lambda factors, k: factors[torch.zeros_like(k)]),
    ),
    (
        "The components are chosen equally often; the weights are not used.",
        dict(choose=lambda n, w: torch.randint(len(w), (n,))),
    ),
    (
        "All draws of a call come from one component. Choose one for each draw.",
        dict(choose=lambda n, w: torch.multinomial(w, 1).expand(n)),
    ),
    (
        "You always take the component with the largest weight: the others never show.",
        dict(choose=lambda n, w: w.argmax().expand(n)),
    ),
    (
        "The noise is uniform between 0 and 1: all draws are pushed to one side.",
        dict(noise=lambda n, j: torch.rand(n, j)),
    ),
    (
        "All draws share one ε: those of a component are all the same.",
        dict(noise=lambda n, j: torch.randn(1, j).expand(n, j)),
    ),
    (
        "Each draw has one number of noise for all its dimensions: draws lie on a line.",
        dict(noise=lambda n, j: torch.randn(n, 1).expand(n, j)),
    ),
    (
        "Each call draws the same: something seeds the generator inside of your function.",
        dict(noise=lambda n, j: torch.randn(n, j, generator=torch.Generator().manual_seed(0))),
    ),
):
    if switches.keys() & {"factor", "choose"}:
        draw_codes.mistake(sentence, **switches)
    else:
        _alone(draw_codes, sentence, **switches)


@draw_codes.wrong(
    "You add up draws of all components, weighted: a code between the groups, where no image"
    " lies. A mixture chooses one component for each draw."
)
def weighted_sum(n: int, weights: Tensor, means: Tensor, covariances: Tensor) -> Tensor:
    parts = zip(weights, means, _lower(covariances), strict=True)
    return sum(w * (m + torch.randn(n, len(m)) @ low.T) for w, m, low in parts)


@draw_codes.wrong(
    "You average means and covariances and draw from one Gaussian. A mixture chooses one"
    " component for each draw."
)
def one_gaussian(n: int, weights: Tensor, means: Tensor, covariances: Tensor) -> Tensor:
    covariance = (weights[:, None, None] * covariances).sum(0)
    return weights @ means + torch.randn(n, means.shape[1]) @ torch.linalg.cholesky(covariance).T


def _by_counts(counts: Tensor, means: Tensor, covariances: Tensor) -> Tensor:
    """So many draws of the first component, then of the second, and so on."""
    parts = zip(counts.tolist(), means, _lower(covariances), strict=True)
    return torch.cat([m + torch.randn(c, len(m)) @ low.T for c, m, low in parts])


@draw_codes.wrong(
    "Each component gets w·n draws, rounded: always the same numbers, and they need not add up to"
    " n. Choose a component by chance, anew for each draw."
)
def rounded_counts(n: int, weights: Tensor, means: Tensor, covariances: Tensor) -> Tensor:
    return _by_counts((weights * n + 1e-3).long(), means, covariances)


@draw_codes.wrong(
    "Each component gets the same number of draws at every call. Choose a component by chance,"
    " anew for each draw."
)
def counts_that_add_up(n: int, weights: Tensor, means: Tensor, covariances: Tensor) -> Tensor:
    counts = (weights * n + 1e-3).long()
    counts[-1] += n - counts.sum()
    return _by_counts(counts, means, covariances)


@draw_codes.wrong(
    "The draws come sorted by component, so the first of them are all alike. Mix them, or choose a"
    " component anew for each draw."
)
def in_order(n: int, weights: Tensor, means: Tensor, covariances: Tensor) -> Tensor:
    counts = _component(n, weights).bincount(minlength=len(weights))
    return _by_counts(counts, means, covariances)


@draw_codes.wrong("Draws are (J, n): the decoder takes a row per code, (n, J).")
def in_columns(n: int, weights: Tensor, means: Tensor, covariances: Tensor) -> Tensor:
    return _draw_codes(n, weights, means, covariances).T


@draw_codes.wrong(
    "A dimension of length 1 is left at the end, from the product of a matrix and a column."
    " Remove it: (n, J)."
)
def a_column_each(n: int, weights: Tensor, means: Tensor, covariances: Tensor) -> Tensor:
    return _draw_codes(n, weights, means, covariances)[:, :, None]


@draw_codes.wrong("You return NumPy; the decoder takes a tensor, (n, J).")
def codes_in_numpy(n: int, weights: Tensor, means: Tensor, covariances: Tensor) -> np.ndarray:
    return _draw_codes(n, weights, means, covariances).numpy()


@draw_codes.also_right
def by_torch_distributions(n: int, weights: Tensor, means: Tensor, covariances: Tensor) -> Tensor:
    from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

    parts = MultivariateNormal(means, covariances)
    return MixtureSameFamily(Categorical(weights), parts).sample((n,))


@draw_codes.also_right
def component_by_component(n: int, weights: Tensor, means: Tensor, covariances: Tensor) -> Tensor:
    counts = torch.multinomial(weights, n, replacement=True).bincount(minlength=len(weights))
    parts = []
    for count, mean, covariance in zip(counts.tolist(), means, covariances, strict=True):
        parts.append(mean + torch.randn(count, len(mean)) @ _root(covariance))
    return torch.cat(parts)[torch.randperm(n)]


# ── vaegan_loss(model, discriminator, x, prior_game, feature_weight, game_weight) → a number ──


class _TinyVAEGAN(nn.Module):
    """An encoder and a generator of one layer each, for images of six pixels."""

    def __init__(self, log_var: float):
        super().__init__()
        self.latent_dim = 2
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(6, 4))
        layers = [nn.Linear(2, 6), nn.Tanh(), nn.Unflatten(1, (1, 2, 3))]
        self.generator = nn.Sequential(*layers)
        draw = torch.Generator().manual_seed(7)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(0.5 * torch.randn(parameter.shape, generator=draw))
            self.encoder[1].bias[2:] = log_var
            self.encoder[1].weight[2:] *= 0.1

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mu, log_var = self.encoder(2 * x - 1).chunk(2, dim=1)
        return mu, log_var

    def decode(self, z: Tensor) -> Tensor:
        return (self(z) + 1) / 2

    def forward(self, z: Tensor) -> Tensor:
        return self.generator(z)


class _TinyDiscriminator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Flatten(), nn.Linear(6, 5), nn.LeakyReLU(0.2), nn.Linear(5, 1)]
        self.layers = nn.Sequential(*layers)
        draw = torch.Generator().manual_seed(8)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=draw))

    def features(self, x: Tensor) -> Tensor:
        return self.layers[:-1](x)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers[-1](self.features(x)).flatten()


def _look_at_vaegan(f: Function) -> Observation:
    """The loss and its gradients where σ is too small for the noise to matter, and another draw."""
    seen: Observation = {}
    x = torch.rand(5, 1, 2, 3, generator=torch.Generator().manual_seed(3))

    def at(seed: int, log_var: float, images: Tensor, *more: float) -> Any:
        torch.manual_seed(seed)
        prior = torch.full((), more[0], requires_grad=True)
        return _number(f(_TinyVAEGAN(log_var), _TinyDiscriminator(), images, prior, *more[1:]))

    first, other = (at(seed, -30.0, x, 0.0, 0.1, 30.0) for seed in (0, 1))  # nearly without noise
    numbers = isinstance(first, float) and isinstance(other, float)
    if numbers and abs(first - other) > 1e-2 and at(0, -30.0, x, 1.0, 0.1, 30.0) == first:
        return {"the game of draws from the prior": "is not prior_game, but computed anew"}
    for feature_weight, game_weight in ((0.1, 30.0), (2.0, 3.0)):
        model, discriminator = _TinyVAEGAN(-30.0), _TinyDiscriminator()
        z = torch.randn(5, 2, generator=torch.Generator().manual_seed(4))
        prior_game = F.softplus(-discriminator(model(z))).mean()
        loss = f(model, discriminator, x, prior_game, feature_weight, game_weight)
        where = f"(λ = {feature_weight:g}, γ = {game_weight:g})"
        seen[f"the loss {where}"] = _number(loss)
        if not (isinstance(loss, Tensor) and loss.numel() == 1 and loss.requires_grad):
            seen["the kind of what is returned"] = type(loss).__name__
            return seen
        seen["the kind of what is returned"] = "Tensor"
        parts = {"encoder": model.encoder, "generator": model.generator}
        for name, part in parts.items():
            found = torch.autograd.grad(
                loss.flatten()[0], list(part.parameters()), retain_graph=True, allow_unused=True
            )
            pairs = zip(found, part.parameters(), strict=True)
            flat = [torch.zeros_like(p) if g is None else g for g, p in pairs]
            seen[f"the gradient that reaches the {name} {where}"] = torch.cat(
                [g.flatten() for g in flat]
            )
    for name, weights in (("compared with x", (1.0, 0.0)), ("of the game", (0.0, 1.0))):
        drawn = at(0, 1.0, x, 0.0, *weights) != at(1, 1.0, x, 0.0, *weights)
        seen[f"the images {name} are decoded from a draw"] = drawn
    many = x[:1].repeat(4000, 1, 1, 1)
    found, expected = at(0, -1.0, many, 0.0, 100.0, 0.0), _error_of_many()
    spread = isinstance(found, float) and abs(found / expected - 1) < 0.025
    return seen | {"the draws spread as σ says": spread}


@functools.cache
def _error_of_many() -> float:
    """KL and 100 times the feature error of 4,000 draws for one image, with σ² about 1/e."""
    model, discriminator = _TinyVAEGAN(-1.0), _TinyDiscriminator()
    x = torch.rand(5, 1, 2, 3, generator=torch.Generator().manual_seed(3))[:1]
    many = x.repeat(4000, 1, 1, 1)
    return _vaegan_loss(model, discriminator, many, torch.zeros(()), 100.0, 0.0).item()


def _squared_features(target: Tensor, found: Tensor) -> Tensor:
    return 0.5 * (target - found).square().sum(1) / target.square().mean()


def _of_features(discriminator: Discriminator, x: Tensor) -> Tensor:
    return discriminator.features(x)


def _codes(model: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    return model.encode(x)


def _fooled(logits: Tensor) -> Tensor:
    return F.softplus(-logits).mean()


def _vaegan_loss(
    model: Any,
    discriminator: Any,
    x: Tensor,
    prior_game: Tensor,
    feature_weight: float = 0.1,
    game_weight: float = 30.0,
    *,
    encode=_codes,
    code=reparameterize,
    for_features=_as_it_is,
    for_game=torch.detach,
    features=_of_features,
    scale=lambda x: 2 * x - 1,
    error=_squared_features,
    game=_fooled,
    kl=kl_divergence,
    weigh=lambda kl, e, g, feature_weight, game_weight: kl + feature_weight * e + game_weight * g,
    both=lambda prior, redrawn: (prior + redrawn) / 2,
) -> Tensor:
    mu, log_var = encode(model, x)
    z = code(mu, log_var)
    with torch.no_grad():
        target = features(discriminator, scale(x))
    e = error(target, features(discriminator, model(for_features(z)))).mean()
    redrawn = game(discriminator(model(for_game(z))))
    return weigh(kl(mu, log_var).mean(), e, both(prior_game, redrawn), feature_weight, game_weight)


vaegan_loss = Exercise(
    "vaegan_loss",
    _vaegan_loss,
    observe=_look_at_vaegan,
    points=4,
    right="It trains your VAE-GAN. Notice that one detach decides who learns what: the encoder"
    " learns from the features and the KL, and never from the game.",
    hints=(
        "Start as for a VAE: encode, reparameterize, model(z). Then both images go through"
        " discriminator.features; x must be scaled to [−1, 1] first.",
        "For the game decode the same z again, detached: the same images, but their gradient ends"
        " at the code.",
        "The game of the reconstructions is F.softplus(-logits).mean(); take the mean of it and"
        " prior_game, times γ, and add KL and λ times the error, both averaged over the images.",
    ),
)

for sentence, switches in (
    (
        "The game's gradient reaches the encoder. It would then learn to encode images so that D"
        " is fooled, and not so that they are found again. Detach the code for the game.",
        dict(for_game=_as_it_is),
    ),
    (
        "The code is detached for the features, too: the encoder learns from the KL alone and"
        " not from how well its codes are decoded.",
        dict(for_features=torch.detach),
    ),
    (
        "You encode 2x − 1, but model.encode takes x in [0, 1], as it is. Only D wants its images"
        " in [−1, 1].",
        dict(encode=lambda model, x: model.encode(2 * x - 1)),
    ),
    (
        "The generator is given μ and not a draw z. Then nothing fills the space between codes.",
        dict(code=lambda mu, log_var: mu),
    ),
    (
        "The draw takes μ first and then log σ²; you gave them in the other order.",
        dict(code=lambda mu, log_var: reparameterize(log_var, mu)),
    ),
    (
        "Here pixels are compared. The point of a VAE-GAN is to compare the features of D, which"
        " do not mind a stroke that is moved by a pixel.",
        dict(features=lambda d, x: x.flatten(1)),
    ),
    (
        "The logits of D are compared, not its features: one number per image says little of it.",
        dict(features=lambda d, x: d(x)[:, None]),
    ),
    (
        "D is shown x in [0, 1], but its images are in [−1, 1], as those of the generator are.",
        dict(scale=_as_it_is),
    ),
    (
        "The division by s² is missing: the price of an error then shrinks or grows with the"
        " features of D.",
        dict(error=lambda t, f: 0.5 * (t - f).square().sum(1)),
    ),
    (
        "The factor ½ of the feature error is missing.",
        dict(error=lambda t, f: (t - f).square().sum(1) / t.square().mean()),
    ),
    (
        "The feature error is too small by the number of features. Either it is averaged over them,"
        " where it is a sum, or your s² is a sum over them, where it is the mean of all squares.",
        dict(error=lambda t, f: 0.5 * (t - f).square().mean(1) / t.square().mean()),
    ),
    (
        "You divide by the square of the mean feature; s² is the mean of the squares.",
        dict(error=lambda t, f: 0.5 * (t - f).square().sum(1) / t.mean().square()),
    ),
    (
        "You divide by the variance of the features; s² is the mean of their squares, no mean"
        " subtracted.",
        dict(error=lambda t, f: 0.5 * (t - f).square().sum(1) / t.var()),
    ),
    (
        "Each image has an s² of its own here; it is one number, the mean square of all entries.",
        dict(error=lambda t, f: 0.5 * (t - f).square().sum(1) / t.square().mean(1)),
    ),
    (
        "The feature error is the norm, and not its square.",
        dict(error=lambda t, f: 0.5 * (t - f).norm(dim=1) / t.square().mean()),
    ),
    (
        "You divide by s and not by s², the mean square.",
        dict(error=lambda t, f: 0.5 * (t - f).square().sum(1) / t.square().mean().sqrt()),
    ),
    (
        "You divide by s² of the generated images. It is that of the real ones, which no one can"
        " inflate.",
        dict(error=lambda t, f: 0.5 * (t - f).square().sum(1) / f.square().mean()),
    ),
    (
        "The game is reversed: your generator learns to make D say `generated`.",
        dict(game=lambda logits: F.softplus(logits).mean()),
    ),
    (
        "This is the saturating loss of the game, with a slope near 0 where D is sure. Use −log D:"
        " softplus(−logit).",
        dict(game=lambda logits: -F.softplus(logits).mean()),
    ),
    (
        "Logits are used as they are, without softplus: that is the hinge loss' generator. Here"
        " −log D is asked for.",
        dict(game=lambda logits: -logits.mean()),
    ),
    (
        "The KL is averaged over the dimensions; it is a sum over them.",
        dict(kl=lambda mu, log_var: kl_divergence(mu, log_var) / mu.shape[1]),
    ),
    (
        "The KL is summed over the batch beside means: it weighs as much more as there are images.",
        dict(kl=lambda mu, log_var: kl_divergence(mu, log_var).sum()),
    ),
    (
        "The KL is missing: codes may lie anywhere, and draws from the prior miss them.",
        dict(
            weigh=lambda kl, e, g, feature_weight, game_weight: feature_weight * e + game_weight * g
        ),
    ),
    (
        "The feature error is missing: nothing makes a code be drawn as the image it came from.",
        dict(weigh=lambda kl, e, g, feature_weight, game_weight: kl + game_weight * g),
    ),
    (
        "The game is missing from the loss.",
        dict(weigh=lambda kl, e, g, feature_weight, game_weight: kl + feature_weight * e),
    ),
    (
        "The weight λ is not used; it is the price of the feature error.",
        dict(weigh=lambda kl, e, g, feature_weight, game_weight: kl + e + game_weight * g),
    ),
    (
        "The weight γ is not used; it multiplies the game.",
        dict(weigh=lambda kl, e, g, feature_weight, game_weight: kl + feature_weight * e + g),
    ),
    (
        "The weights λ and γ have changed places: λ belongs to the features, γ to the game.",
        dict(
            weigh=lambda kl, e, g, feature_weight, game_weight: (
                kl + game_weight * e + feature_weight * g
            )
        ),
    ),
    (
        "The weight λ multiplies the KL, too; it belongs to the feature error alone.",
        dict(
            weigh=lambda kl, e, g, feature_weight, game_weight: (
                feature_weight * (kl + e) + game_weight * g
            )
        ),
    ),
    (
        "Only the reconstructions play the game; the draws from the prior (prior_game) are what"
        " you will want to look at in the end.",
        dict(both=lambda prior, redrawn: redrawn),
    ),
    (
        "The argument prior_game is missing from the game: the reconstructions alone play it.",
        dict(both=lambda prior, redrawn: redrawn / 2),
    ),
    (
        "Only the draws from the prior play the game; the reconstructions should, too.",
        dict(both=lambda prior, redrawn: prior),
    ),
    (
        "The two games are added, so the game weighs twice as much; take their mean.",
        dict(both=lambda prior, redrawn: prior + redrawn),
    ),
):
    if switches.keys() & {"for_game", "scale", "kl"}:
        vaegan_loss.mistake(sentence, **switches)
    else:
        _alone(vaegan_loss, sentence, **switches)


def _with_another_game(
    model: Any,
    discriminator: Any,
    x: Tensor,
    prior_game: Tensor,
    feature_weight: float,
    game_weight: float,
    game: Callable[[Tensor], Tensor],
) -> Tensor:
    mu, log_var = model.encode(x)
    redrawn = game(reparameterize(mu, log_var))
    rest = _vaegan_loss(model, discriminator, x, 0 * prior_game, feature_weight, 0.0)
    return rest + game_weight * (prior_game + redrawn) / 2


def _twice(
    model: Any,
    discriminator: Any,
    x: Tensor,
    prior_game: Tensor,
    feature_weight: float,
    game_weight: float,
    compared: bool,
) -> Tensor:
    """The loss whose images of one kind, those compared or those of the game, come from μ."""

    def of_the_mean(mu: Tensor, log_var: Tensor) -> Tensor:
        return mu

    weights = (feature_weight, 0.0), (0.0, game_weight)
    codes = (of_the_mean, reparameterize) if compared else (reparameterize, of_the_mean)
    kl = kl_divergence(*model.encode(x)).mean()
    both = [
        _vaegan_loss(model, discriminator, x, prior_game, *w, code=code)
        for w, code in zip(weights, codes, strict=True)
    ]
    return sum(both) - kl


@vaegan_loss.wrong(
    "The images that are compared with x are decoded from μ. Decode a draw z: else σ costs nothing"
    " but the KL, and codes near μ may be decoded as anything."
)
def compared_at_the_mean(
    model: Any,
    discriminator: Any,
    x: Tensor,
    prior_game: Tensor,
    feature_weight: float = 0.1,
    game_weight: float = 30.0,
) -> Tensor:
    return _twice(model, discriminator, x, prior_game, feature_weight, game_weight, True)


@vaegan_loss.wrong(
    "The images of the game are decoded from μ. Decode the same draw z as for the features,"
    " detached."
)
def game_at_the_mean(
    model: Any,
    discriminator: Any,
    x: Tensor,
    prior_game: Tensor,
    feature_weight: float = 0.1,
    game_weight: float = 30.0,
) -> Tensor:
    return _twice(model, discriminator, x, prior_game, feature_weight, game_weight, False)


@vaegan_loss.wrong(
    "The draws have another spread than σ = exp(log σ² / 2). Let vae.reparameterize(mu, log_var)"
    " draw z."
)
def spread_by_the_variance(
    model: Any,
    discriminator: Any,
    x: Tensor,
    prior_game: Tensor,
    feature_weight: float = 0.1,
    game_weight: float = 30.0,
) -> Tensor:
    def wide(mu: Tensor, log_var: Tensor) -> Tensor:
        return mu + log_var.exp() * torch.randn_like(mu)

    return _vaegan_loss(model, discriminator, x, prior_game, feature_weight, game_weight, code=wide)


@vaegan_loss.wrong(
    "You compute the game of draws from the prior anew. It is given, as prior_game: the training"
    " loop has drawn these images already."
)
def prior_game_anew(
    model: Any,
    discriminator: Any,
    x: Tensor,
    prior_game: Tensor,
    feature_weight: float = 0.1,
    game_weight: float = 30.0,
) -> Tensor:
    again = _fooled(discriminator(model(torch.randn(len(x), model.latent_dim))))
    return _vaegan_loss(model, discriminator, x, again, feature_weight, game_weight)


@vaegan_loss.wrong(
    "A Python number comes back (.item()): nothing can be differentiated. Return the tensor."
)
def without_graph(
    model: Any,
    discriminator: Any,
    x: Tensor,
    prior_game: Tensor,
    feature_weight: float = 0.1,
    game_weight: float = 30.0,
) -> float:
    return _vaegan_loss(model, discriminator, x, prior_game, feature_weight, game_weight).item()


@vaegan_loss.wrong(
    "What you return is cut off from the graph (no_grad, detach): nothing can be differentiated."
)
def detached(
    model: Any,
    discriminator: Any,
    x: Tensor,
    prior_game: Tensor,
    feature_weight: float = 0.1,
    game_weight: float = 30.0,
) -> Tensor:
    return _vaegan_loss(model, discriminator, x, prior_game, feature_weight, game_weight).detach()


@vaegan_loss.wrong(
    "The image is detached for the game, and not the code: then no gradient of the"
    " reconstructions' game reaches the generator either."
)
def image_detached(
    model: Any,
    discriminator: Any,
    x: Tensor,
    prior_game: Tensor,
    feature_weight: float = 0.1,
    game_weight: float = 30.0,
) -> Tensor:
    def game(z: Tensor) -> Tensor:
        return _fooled(discriminator(model(z).detach()))

    return _with_another_game(
        model, discriminator, x, prior_game, feature_weight, game_weight, game
    )


@vaegan_loss.wrong(
    "The game prior_game is detached: G would not learn to draw from the prior. It has no"
    " gradient to the encoder anyway."
)
def prior_detached(
    model: Any,
    discriminator: Any,
    x: Tensor,
    prior_game: Tensor,
    feature_weight: float = 0.1,
    game_weight: float = 30.0,
) -> Tensor:
    return _vaegan_loss(model, discriminator, x, prior_game.detach(), feature_weight, game_weight)


@vaegan_loss.wrong(
    "The arguments feature_weight and game_weight are not used; your function has 0.1 and 30 in it."
)
def weights_written_in(
    model: Any,
    discriminator: Any,
    x: Tensor,
    prior_game: Tensor,
    feature_weight: float = 0.1,
    game_weight: float = 30.0,
) -> Tensor:
    return _vaegan_loss(model, discriminator, x, prior_game, 0.1, 30.0)


@vaegan_loss.wrong("The feature error is summed over the batch beside means over it.")
def error_summed_over_the_batch(
    model: Any,
    discriminator: Any,
    x: Tensor,
    prior_game: Tensor,
    feature_weight: float = 0.1,
    game_weight: float = 30.0,
) -> Tensor:
    many = feature_weight * len(x)
    return _vaegan_loss(model, discriminator, x, prior_game, many, game_weight)


@vaegan_loss.wrong("The game of the reconstructions is summed over the batch beside means over it.")
def game_summed_over_the_batch(
    model: Any,
    discriminator: Any,
    x: Tensor,
    prior_game: Tensor,
    feature_weight: float = 0.1,
    game_weight: float = 30.0,
) -> Tensor:
    def game(z: Tensor) -> Tensor:
        return len(x) * _fooled(discriminator(model(z.detach())))

    return _with_another_game(
        model, discriminator, x, prior_game, feature_weight, game_weight, game
    )


@vaegan_loss.wrong(
    "A loss for each image comes back. Take the mean of the KL and of the feature error: backward"
    " needs one number."
)
def one_for_each_image(
    model: Any,
    discriminator: Any,
    x: Tensor,
    prior_game: Tensor,
    feature_weight: float = 0.1,
    game_weight: float = 30.0,
) -> Tensor:
    value = _vaegan_loss(model, discriminator, x, prior_game, feature_weight, game_weight)
    return value.expand(len(x))


@vaegan_loss.also_right
def by_two_passes(
    model: Any,
    discriminator: Any,
    x: Tensor,
    prior_game: Tensor,
    feature_weight: float = 0.1,
    game_weight: float = 30.0,
) -> Tensor:
    mu, log_var = model.encode(x)
    z = mu + (log_var / 2).exp() * torch.randn_like(mu)
    f, f_tilde = discriminator.features(2 * x - 1).detach(), discriminator.features(model(z))
    error = ((f - f_tilde) ** 2).sum(1) / (2 * f.pow(2).mean())
    logits = discriminator.layers[-1](discriminator.features(model(z.detach())))
    game = -0.5 * F.logsigmoid(logits).mean() + 0.5 * prior_game
    kl = 0.5 * (mu**2 + log_var.exp() - 1 - log_var).sum(1)
    return (kl + feature_weight * error).mean() + game_weight * game


@vaegan_loss.also_right
def image_by_image(
    model: Any,
    discriminator: Any,
    x: Tensor,
    prior_game: Tensor,
    feature_weight: float = 0.1,
    game_weight: float = 30.0,
) -> Tensor:
    mu, log_var = model.encode(x)
    z = torch.distributions.Normal(mu, (0.5 * log_var).exp()).rsample()
    target, found = discriminator.features(2 * x - 1).detach(), discriminator.features(model(z))
    s2 = (target**2).sum() / target.numel()
    errors = [((a - b) ** 2).sum() / 2 / s2 for a, b in zip(target, found, strict=True)]
    games = F.binary_cross_entropy_with_logits(discriminator(model(z.detach())), torch.ones(len(x)))
    total = sum(kl_divergence(mu, log_var)) / len(x) + feature_weight * sum(errors) / len(errors)
    return total + game_weight * (games + prior_game) / 2
