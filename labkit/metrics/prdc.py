"""Are generated images realistic and diverse? Precision, recall, density and coverage.

B(x) is the ball around x whose radius is the distance to the k-th nearest neighbour of x in its own
set; N real features x_i, M generated ones y_j.

    precision = share of y_j in some B(x_i)            (Kynkäänniemi et al. 2019, arXiv:1904.06991)
    recall    = share of x_i in some B(y_j)
    density   = Σ_ij [y_j ∈ B(x_i)] / (k M)            (Naeem et al. 2020, arXiv:2002.09797)
    coverage  = share of B(x_i) with some y_j in it

Pitfalls. Two samples of one distribution score below 1 in precision and recall (it depends on the
dimension) and in coverage (about 1 − 2⁻ᵏ for N = M): show real images against real ones. Outliers
have large balls: real ones raise precision, generated ones recall. Density exceeds 1 if samples
concentrate where real ones are dense. All depend on k, N and M.
"""

import torch
from torch import Tensor

from labkit.metrics.checks import check_counts, check_enough, check_features


def prdc(real: Tensor, generated: Tensor, k: int = 5, batch_size: int = 1000) -> dict[str, float]:
    """Scores of generated features (M, D) by real ones (N, D); ValueError unless N, M exceed k."""
    check_counts(k=k, batch_size=batch_size)
    real, generated = check_features(real, generated)
    check_enough(real, generated, k + 1, f"the {k} nearest neighbours of each among the others")
    centre = real.double().mean(0)  # |x|² + |y|² − 2 x·y loses fewest digits around 0
    x, y = real.double() - centre, generated.double() - centre
    radii_x, radii_y = _radii(x, k, batch_size), _radii(y, k, batch_size)
    balls, filled, recalled = 0, [], []  # balls: the number of B(x_i) that hold y_j, (M,)
    for rows, radii in zip(x.split(batch_size), radii_x.split(batch_size), strict=True):
        d2 = _squared_distances(rows, y)
        inside = d2 < radii[:, None]
        balls += inside.sum(0)
        filled.append(inside.any(1))
        recalled.append((d2 < radii_y).any(1))
    return {
        "precision": (balls > 0).double().mean().item(),
        "recall": torch.cat(recalled).double().mean().item(),
        "density": balls.sum().item() / (k * len(y)),
        "coverage": torch.cat(filled).double().mean().item(),
    }


def _radii(x: Tensor, k: int, batch_size: int) -> Tensor:
    """Squared distance of each of x (N, D) to its k-th nearest neighbour among the others, (N,)."""
    found = []
    for i in range(0, len(x), batch_size):
        d2 = _squared_distances(x[i : i + batch_size], x)
        d2[:, i:].fill_diagonal_(torch.inf)  # no point is its own neighbour
        found.append(d2.topk(k, dim=1, largest=False).values[:, -1])
    return torch.cat(found)


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """‖x_i − y_j‖², (N, M), of x (N, D) and y (M, D)."""
    norms = x.square().sum(1, keepdim=True) + y.square().sum(1)
    return norms.addmm_(x, y.T, alpha=-2).clamp_min_(0)
