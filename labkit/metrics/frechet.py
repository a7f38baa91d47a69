"""How far apart are two sets of features? The Fréchet distance of the Gaussians fitted to them.

    d² = ‖μ_x − μ_y‖² + tr(Σ_x + Σ_y − 2 (Σ_x Σ_y)^½)     (Dowson & Landau 1982; Heusel et al. 2017)

Pitfalls. Scores by the kit's own classifier do not compare with published Inception-FIDs. Only
means and covariances count. Two samples of one distribution score about `expected_floor`, not 0:
compare at equal N, also real images with real ones. This bias depends on the model, so a ranking
can change with N (Chong & Forsyth 2020); `frechet_infinity` removes it.
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy.linalg.blas import dsyrk
from torch import Tensor

from labkit.metrics.checks import check_counts, check_enough, check_features


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """d² of features x (N, D) and y (M, D), in the squared unit of the features.

    With triangular R, RᵀR = Σ, tr (Σ_x Σ_y)^½ is the sum of the singular values of R_x R_yᵀ: real
    for any rank, where the matrix root can be complex. Raises ValueError unless N and M exceed D:
    the covariance of fewer samples has no full rank.
    """
    x, y = check_features(x, y)
    check_enough(x, y, x.shape[1] + 1, "more samples than dimensions, for a covariance")
    (mean_x, r_x), (mean_y, r_y) = _moments(x), _moments(y)
    root = torch.linalg.svdvals(r_x @ r_y.T).sum()
    traces = r_x.square().sum() + r_y.square().sum() - 2 * root  # tr Σ = ‖R‖²_F
    return max(0.0, ((mean_x - mean_y).square().sum() + traces).item())


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (D,) and R factor (D, D) of features (N, D), RᵀR = Σ, in float64."""
    parts = x.split(2500)  # small enough for the processor's cache
    mean = sum(part.double().sum(0) for part in parts) / len(x)
    gram = np.zeros((x.shape[1], x.shape[1]), order="F")
    for part in parts:  # add to the upper half of X̃ᵀX̃, X̃ = x − mean
        gram = dsyrk(1.0, (part - mean).numpy().T, beta=1.0, c=gram, overwrite_c=True)
    gram = torch.from_numpy(gram)
    smallest, largest = torch.linalg.eigvalsh(gram, UPLO="U")[[0, -1]]
    if smallest > 1e-8 * largest:
        r = torch.linalg.cholesky(gram, upper=True)
    else:  # X̃ᵀX̃ has lost the digits of small variances, and X̃ has not
        r = torch.linalg.qr(x.double() - mean, mode="r").R
    return mean, r / (len(x) - 1) ** 0.5


def total_variance(x: Tensor) -> float:
    """tr(Σ_x) of features (N, D), N at least 2: the least d² of a generator of one single image."""
    x, _ = check_features(x, x)
    check_enough(x, x, 2, "a variance")
    return x.double().var(0).sum().item()


def expected_floor(x: Tensor, n: int, m: int) -> float:
    """Expected d² of n against m draws from one Gaussian with the covariance of x (N, D).

        (1/n + 1/m) · (Σ_i λ_i + ½ Σ_ij λ_i λ_j (1 + δ_ij) / (λ_i + λ_j)),   λ: eigenvalues of Σ_x

    It is the score of a perfect generator, to second order in the sampling error, for Σ = I
    (1/n + 1/m)(D + D(D + 1)/4). ReLU features have heavier tails, and a higher floor.
    """
    check_counts(n=n, m=m)
    x, _ = check_features(x, x)
    eigenvalues = torch.linalg.eigvalsh(x.double().T.cov())
    a = eigenvalues[eigenvalues > 1e-12 * eigenvalues.max()]  # constant units add nothing
    pairs = a[:, None] * a / (a[:, None] + a)
    return (1 / n + 1 / m) * (a.sum() + 0.5 * (pairs.sum() + pairs.diagonal().sum())).item()


class Extrapolation(NamedTuple):
    """The line d²(N) ≈ limit + slope / N, and the points (counts N, mean distances) it fits."""

    limit: float
    slope: float
    counts: list[int]
    distances: list[float]


def frechet_infinity(
    x: Tensor, y: Tensor, parts: tuple[int, ...] = (1, 2, 3, 4, 5), seed: int = 0
) -> Extrapolation:
    """d² of infinitely many samples, extrapolated in 1/N (FID∞, Chong & Forsyth 2020).

    For each k of `parts`, features x (N, D) and y (M, D) are cut at random into k parts, the k
    distances are averaged, and a line is fitted to these means. The paper leaves y whole and keeps
    the bias of its M samples; here both shrink, and two samples of one distribution have the limit
    0 (but for noise). Raises ValueError as `frechet_distance` does, and for one value in `parts`.
    """
    if len(set(parts)) < 2 or min(parts) < 1:
        raise ValueError(f"a line needs two or more numbers of parts, 1 or more each; got {parts}")
    (x, y), most = check_features(x, y), max(parts)
    check_enough(x, y, most * (x.shape[1] + 1), f"more than dimensions in each of {most} parts")
    order = torch.Generator().manual_seed(seed)
    x, y = (f[torch.randperm(len(f), generator=order)] for f in (x, y))
    distances = []
    for k in parts:
        pairs = zip(x.tensor_split(k), y.tensor_split(k), strict=True)
        distances.append(float(np.mean([frechet_distance(a, b) for a, b in pairs])))
    slope, limit = np.polyfit([k / len(x) for k in parts], distances, 1)
    return Extrapolation(float(limit), float(slope), [len(x) // k for k in parts], distances)
