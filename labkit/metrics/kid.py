"""Is it close, without a bias? The kernel distance KID of two sets of features (Bińkowski et al.
2018, arXiv:1801.01401, section 4).

    k(x, y) = (xᵀy / D + 1)³
    MMD²_u = Σ_{i≠j} k(x_i, x_j) / (n(n−1)) + Σ_{i≠j} k(y_i, y_j) / (n(n−1)) − 2 Σ_ij k(x_i, y_j) /
    n²

The polynomial sees moments up to the third. The mean of the estimate does not depend on the number
of samples; two samples of one distribution score 0 on average, and below 0 about half of the time.

Pitfalls. The kernel is not homogeneous: features scaled by a constant change a ranking, not only
the unit. With the kit's classifier the numbers cannot be compared with published KIDs. The spread says
how much one subset differs from the next, not how much a model trained again would: for that, train
it again.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from labkit.metrics.checks import check_features


class KID(NamedTuple):
    """Mean and standard deviation of MMD²_u over the subsets."""

    mean: float
    sd: float


def kid(x: Tensor, y: Tensor, subsets: int = 50, size: int = 1000, seed: int = 0) -> KID:
    """KID of features x (N, D) and y (M, D): MMD²_u of `subsets` random subsets of `size` of each,
    drawn without replacement.

    Computed in the precision of the features; that of float32 is far finer than the spread.
    Raises ValueError for features that cannot be compared, or fewer of them than `size`.
    """
    if subsets < 2 or size < 2:
        raise ValueError(
            f"a spread needs 2 subsets or more, of 2 samples or more; got {subsets} of {size}"
        )
    check_features(x, y, size, "the size of a subset")
    order = torch.Generator().manual_seed(seed)
    values = torch.stack(
        [
            mmd2(*(f[torch.randperm(len(f), generator=order)[:size]] for f in (x, y)))
            for _ in range(subsets)
        ]
    )
    return KID(values.mean().item(), values.std().item())


def mmd2(x: Tensor, y: Tensor) -> Tensor:
    """MMD²_u, a scalar, of features x (n, D) and y (m, D), n and m at least 2; in their
    precision.
    """
    n, m = len(x), len(y)
    within_x, within_y = _kernel(x, x), _kernel(y, y)
    return (
        (within_x.sum() - within_x.trace()) / (n * (n - 1))
        + (within_y.sum() - within_y.trace()) / (m * (m - 1))
        - 2 * _kernel(x, y).sum() / (n * m)
    )


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    """k(x_i, y_j), (n, m)."""
    return (x @ (y.T / x.shape[1])).add_(1).pow_(3)
