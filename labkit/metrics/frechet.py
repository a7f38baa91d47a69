"""Is it close? The Fréchet distance between two sets of features, as if both were Gaussian (Dowson
& Landau 1982; Heusel et al. 2017).

    d² = ‖μ_x − μ_y‖² + tr(Σ_x + Σ_y − 2 (Σ_x Σ_y)^½)

With the features of the kit's own frozen classifier this is a *classifier Fréchet distance*; it is not
the Inception-FID of the literature, and the two numbers cannot be compared.

Pitfalls. Two samples of one distribution do not score 0 but `expected_floor`: state N, M and D,
compare at equal N only, and draw the real-vs-real floor. The bias differs from model to model, so
more samples may turn a ranking round (Chong & Forsyth 2020); `frechet_infinity` is without it. Only
means and covariances count: whatever leaves these alone goes unseen.
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy.linalg.blas import dsyrk
from torch import Tensor

from labkit.metrics.checks import check_features


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """d² of features x (N, D) and y (M, D), in the squared unit of the features.

    The trace of (Σ_x Σ_y)^½ is the sum of the singular values of X̃ Ỹᵀ for X̃ᵀX̃ = Σ_x, Ỹᵀ Ỹ = Σ_y;
    the R factors of their QR decompositions have the same ones and are D × D. So covariances are
    not multiplied and no complex root is taken: the result is real for any rank, and not negative
    but for rounding. Raises ValueError for features that cannot be compared, among them N or M of D
    or fewer: their covariance has no full rank.
    """
    check_features(
        x,
        y,
        x.shape[-1] + 1,
        "more samples than dimensions, or the covariance is that of the sample, not of its source",
    )
    return _distance(_moments(x), _moments(y))


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """The mean (D,) of features (N, D) and the R factor (D, D) of X̃, RᵀR = Σ, in float64 on the
    CPU.
    """
    x = x.detach().cpu()
    parts = x.split(2500)  # one stays in the processor's cache while it is worked on
    mean = sum(part.double().sum(0) for part in parts) / len(x)
    gram = np.zeros((x.shape[1], x.shape[1]), order="F")
    for part in parts:
        gram = dsyrk(
            1.0, (part - mean).numpy().T, beta=1.0, c=gram, overwrite_c=True
        )  # adds to the upper half of X̃ᵀX̃
    gram = torch.from_numpy(gram)
    smallest, largest = torch.linalg.eigvalsh(gram, UPLO="U")[[0, -1]]
    # Cholesky's factor of X̃ᵀX̃ is R; where some direction has next to no variance, X̃ᵀX̃ has lost
    # digits that X̃ still has
    well_conditioned = smallest > 1e-8 * largest
    r = (
        torch.linalg.cholesky(gram, upper=True)
        if well_conditioned
        else torch.linalg.qr(x.double() - mean, mode="r").R
    )
    return mean, r / (len(x) - 1) ** 0.5


def _distance(x: tuple[Tensor, Tensor], y: tuple[Tensor, Tensor]) -> float:
    """d² of the moments of two sets of features."""
    (mean_x, r_x), (mean_y, r_y) = x, y
    # tr Σ = ‖R‖²_F
    traces = r_x.square().sum() + r_y.square().sum() - 2 * torch.linalg.svdvals(r_x @ r_y.T).sum()
    return max(0.0, ((mean_x - mean_y).square().sum() + traces).item())


def total_variance(x: Tensor) -> float:
    """tr(Σ_x) of features (N, D): what a generator that always drew the mean image's features would
    be away from them, at least.
    """
    return x.double().var(0).sum().item()


def expected_floor(x: Tensor, n: int, m: int) -> float:
    """E[d²] of n against m draws from one Gaussian with the covariance of x (N, D): what a perfect
    generator would score, to first order.

        (1/n + 1/m) · (Σ_i λ_i + ½ Σ_ij λ_i λ_j (1 + δ_ij) / (λ_i + λ_j)),   λ: eigenvalues of Σ_x

    From the second-order change of d² under the sampling error of mean and covariance; for Σ = I it
    is D + D(D+1)/4. Features of ReLU units have heavier tails than a Gaussian, and a higher floor.
    """
    eigenvalues = torch.linalg.eigvalsh(x.double().T.cov())
    a = eigenvalues[eigenvalues > 1e-12 * eigenvalues.max()]  # constant units add nothing
    pairs = a[:, None] * a / (a[:, None] + a)
    return (1 / n + 1 / m) * (a.sum() + 0.5 * (pairs.sum() + pairs.diagonal().sum())).item()


class Extrapolation(NamedTuple):
    """d² as a line in 1/N: d²(N) ≈ limit + slope / N. counts: the N of each point; distances: its
    mean d².
    """

    limit: float
    slope: float
    counts: list[int]
    distances: list[float]


def frechet_infinity(
    x: Tensor, y: Tensor, parts: tuple[int, ...] = (1, 2, 3, 4, 5), seed: int = 0
) -> Extrapolation:
    """d² of infinitely many samples, extrapolated in 1/N from features x (N, D) and y (M, D) (FID∞,
    Chong & Forsyth 2020).

    For each k of `parts` x and y are cut at random into k parts of N/k and M/k, and the k distances
    are averaged: each sample counts once for each k. The line through them is fitted by least
    squares. The paper leaves y whole, so that the bias of its M samples stays; here both shrink
    alike, and two samples of one distribution have the limit 0, give or take: it may be negative.
    Raises ValueError as `frechet_distance` does, for the smallest parts, and for fewer than two
    values in `parts`.
    """
    if len(set(parts)) < 2 or min(parts) < 1:
        raise ValueError(
            f"a line needs two or more numbers of parts, each 1 or more, got {parts}; e.g. (1, 2, 3, 4, 5)"
        )
    check_features(
        x,
        y,
        max(parts) * (x.shape[-1] + 1),
        f"more samples than dimensions in each of {max(parts)} parts",
    )
    order = torch.Generator().manual_seed(seed)
    x, y = (f[torch.randperm(len(f), generator=order)] for f in (x, y))
    distances = []
    for k in parts:
        pairs = zip(x.tensor_split(k), y.tensor_split(k), strict=True)
        distances.append(float(np.mean([_distance(_moments(a), _moments(b)) for a, b in pairs])))
    counts = [len(x) // k for k in parts]
    slope, limit = np.polyfit([k / len(x) for k in parts], distances, 1)
    return Extrapolation(float(limit), float(slope), counts, distances)
