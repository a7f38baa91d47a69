"""Is it real, and is it diverse? Precision, recall, density and coverage of generated features.

B(x) is the ball around x whose radius reaches the k-th nearest neighbour of x in its own set; N
real x_i, M generated y_j.

    precision = share of y_j in some B(x_i)        recall   = share of x_i in some B(y_j)
    (Kynkäänniemi et al. 2019, arXiv:1904.06991) density   = Σ_ij [y_j ∈ B(x_i)] / (k M)
    coverage = share of B(x_i) with a y_j in it        (Naeem et al. 2020, arXiv:2002.09797)

Pitfalls. Two samples of one distribution do not score 1: precision and recall depend on its
dimension, so draw the real-vs-real line; density is 1 on average, coverage `expected_coverage`. The
ball of one far-out real image takes in many bad samples: precision forgives them, density less so.
Density exceeds 1 when samples crowd where real images are dense. The balls of far-out samples are
as wide: recall may praise a model for noise. All four depend on k, N and M: compare at equal ones.
"""

from itertools import product
from math import prod

import torch
from torch import Tensor

from labkit.metrics.checks import check_features


def prdc(real: Tensor, generated: Tensor, k: int = 5, batch_size: int = 1000) -> dict[str, float]:
    """ "precision", "recall", "density" and "coverage" of features real (N, D) and generated (M,
    D), by their `k` nearest neighbours.

    Distances are made in blocks of `batch_size`², so memory does not grow with N × M. Raises
    ValueError for features that cannot be compared, or fewer than k + 1 of them.
    """
    if k < 1:
        raise ValueError(
            f"k counts nearest neighbours, so it is 1 or more, got {k}; the papers take 3 and 5"
        )
    check_features(real, generated, k + 1, f"the {k} nearest neighbours of each among the others")
    centre = real.double().mean(0)  # |x|² + |y|² − 2 x·y loses fewest digits around 0
    x, y = real.double() - centre, generated.double() - centre
    radii_x, radii_y = (radii(f, k, batch_size)[:, None] for f in (x, y))
    balls = torch.zeros(len(y), dtype=torch.int64)  # how many B(x_i) each y_j is in
    filled, recalled = torch.zeros(len(x), dtype=torch.bool), torch.zeros(len(x), dtype=torch.bool)
    for i, j in product(range(0, len(x), batch_size), range(0, len(y), batch_size)):
        rows, columns = slice(i, i + batch_size), slice(j, j + batch_size)
        d2 = squared_distances(x[rows], y[columns])
        inside = d2 < radii_x[rows]
        balls[columns] += inside.sum(0)
        filled[rows] |= inside.any(1)
        recalled[rows] |= (d2 < radii_y[columns].T).any(1)
    return {
        "precision": (balls > 0).double().mean().item(),
        "recall": recalled.double().mean().item(),
        "density": balls.sum().item() / (k * len(y)),
        "coverage": filled.double().mean().item(),
    }


def radii(x: Tensor, k: int, batch_size: int = 1000) -> Tensor:
    """Squared distance of each of x (N, D) to its k-th nearest neighbour among the others, (N,)."""
    found = []
    for i in range(0, len(x), batch_size):
        d2 = squared_distances(x[i : i + batch_size], x)
        rows = torch.arange(len(d2))
        d2[rows, i + rows] = torch.inf  # no point is its own neighbour
        found.append(d2.topk(k, dim=1, largest=False).values[:, -1])
    return torch.cat(found)


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """‖x_i − y_j‖², (N, M), of x (N, D) and y (M, D)."""
    norms = x.square().sum(1, keepdim=True) + y.square().sum(1)
    return norms.addmm_(x, y.T, alpha=-2).clamp_min_(0)


def expected_coverage(n: int, m: int, k: int = 5) -> float:
    """Coverage of n real samples by m of the same distribution, on average: 1 − ∏_{i=1…k} (n − i) /
    (n + m − i).

    Around each x the n − 1 other real and the m generated ones come in any order alike; B(x) is
    empty if the k nearest of all are real. For n = m it is about 1 − 2⁻ᵏ.
    """
    return 1 - prod((n - i) / (n + m - i) for i in range(1, k + 1))
