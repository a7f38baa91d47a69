"""Is it close? The Fréchet distance between two sets of features, as if both were Gaussian (Dowson & Landau 1982; Heusel et al. 2017).

    d² = ‖μ_x − μ_y‖² + tr(Σ_x + Σ_y − 2 (Σ_x Σ_y)^½)

With the features of the kit's own frozen reader this is a *classifier Fréchet distance*; it is not the Inception-FID of the literature, and
the two numbers cannot be compared.
"""

import torch
from torch import Tensor


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """d² of features x (N, D) and y (M, D), N and M at least 2; in the squared unit of the features.

    The trace of (Σ_x Σ_y)^½ is the sum of the singular values of X̃ Ỹᵀ for X̃ᵀX̃ = Σ_x, Ỹᵀ Ỹ = Σ_y; their R factors have the same ones and
    are D × D. So no covariance is formed and no complex root taken: the result is real for any rank, and not negative but for rounding.
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(f"expected features (N, D) and (M, D) with N, M >= 2, got {tuple(x.shape)} and {tuple(y.shape)}")
    x, y = x.double(), y.double()
    difference = x.mean(0) - y.mean(0)
    x, y = ((f - f.mean(0)) / (len(f) - 1) ** 0.5 for f in (x, y))  # X̃, Ỹ
    r_x, r_y = (torch.linalg.qr(f, mode="r").R for f in (x, y))
    d2 = difference.square().sum() + x.square().sum() + y.square().sum() - 2 * torch.linalg.svdvals(r_x @ r_y.T).sum()
    return max(0.0, d2.item())


def total_variance(x: Tensor) -> float:
    """tr(Σ_x) of features (N, D): what a generator that always drew the mean image's features would be away from them, at least."""
    return x.double().var(0).sum().item()
