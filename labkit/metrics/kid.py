"""How far apart are two sets of features, without bias? The Kernel Inception Distance, KID.

    k(x, y) = (xᵀy / D + 1)³
    MMD²_u = Σ_{i≠j} k(x_i, x_j) / n(n−1) + Σ_{i≠j} k(y_i, y_j) / m(m−1) − 2 Σ_ij k(x_i, y_j) / nm

(Bińkowski et al. 2018, arXiv:1801.01401, section 4.) The kernel compares moments up to the third.
Two samples of one distribution score 0 on average for any n, and below 0 about half of the time.

Pitfalls. Scaling the features can change a ranking, and other features than Inception's give other
KIDs. The standard deviation is that between subsets, not that between training runs.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from labkit.metrics.checks import check_enough, check_features


class KID(NamedTuple):
    """Mean and standard deviation of MMD²_u over the subsets."""

    mean: float
    sd: float


def kid(x: Tensor, y: Tensor, subsets: int = 50, size: int = 1000, seed: int = 0) -> KID:
    """MMD²_u of random subsets of features (N, D) and (M, D); ValueError for fewer than `size`."""
    if subsets < 2 or size < 2:
        raise ValueError(f"KID needs 2 or more subsets of 2 or more; got {subsets} of {size}")
    x, y = check_features(x, y)
    check_enough(x, y, size, "the size of a subset")
    order, found = torch.Generator().manual_seed(seed), []
    for _ in range(subsets):
        a, b = (f[torch.randperm(len(f), generator=order)[:size]] for f in (x, y))
        found.append(mmd2(a, b))
    values = torch.stack(found).double()
    return KID(values.mean().item(), values.std().item())


def mmd2(x: Tensor, y: Tensor) -> Tensor:
    """MMD²_u, a scalar, of features x (n, D) and y (m, D); n and m at least 2."""
    x, y = check_features(x, y)
    check_enough(x, y, 2, "pairs within each set")
    (n, d), m = x.shape, len(y)
    xx, yy, xy = ((a @ (b.T / d)).add_(1).pow_(3) for a, b in ((x, x), (y, y), (x, y)))
    within = (xx.sum() - xx.trace()) / (n * (n - 1)) + (yy.sum() - yy.trace()) / (m * (m - 1))
    return within - 2 * xy.sum() / (n * m)
