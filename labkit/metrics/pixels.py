"""What is in the pixels of uint8 images (N, C, H, W): class means, copies, neighbours.

Distances are root mean square differences of pixels in [0, 1], from 0 to 1 (black and white).
"""

from collections import defaultdict

import torch
from torch import Tensor

from labkit.metrics.checks import check_images, unit_range


def class_means(images: Tensor, labels: Tensor, classes: int) -> Tensor:
    """The mean image of each class in [0, 1], (classes, C, H, W); black for an empty class."""
    means = torch.zeros(classes, *images.shape[1:])
    for label in labels.unique().tolist():
        means[label] = unit_range(images[labels == label]).mean(0)
    return means


def exact_copies(queries: Tensor, references: Tensor) -> Tensor:
    """Every pair of a query and a reference with the same pixels, as indices int64 (M, 2)."""
    places = defaultdict(list)
    for k, image in enumerate(references.numpy()):
        places[image.tobytes()].append(k)
    pairs = [(q, k) for q, image in enumerate(queries.numpy()) for k in places[image.tobytes()]]
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)


def rms_distances(a: Tensor, b: Tensor) -> Tensor:
    """All distances between images a (N, C, H, W) and b (M, C, H, W), (N, M).

    0 for copies, exactly for uint8, within 1e-7 for float. Raises ValueError for unequal shapes.
    """
    x, y = _grey(a), _grey(b)
    if a.shape[1:] != b.shape[1:]:
        raise ValueError(f"expected images of one shape, got {tuple(a.shape)}, {tuple(b.shape)}")
    dtype, squares = torch.promote_types(x.dtype, y.dtype), 0
    # grey levels in [−128, 127]: the sum of 1,024 products is an integer that float32 holds exactly
    for p, q in zip(x.to(dtype).split(1024, 1), y.to(dtype).split(1024, 1), strict=True):
        part = torch.addmm(q.square().sum(1), p, q.T, alpha=-2)  # Σ (p − q)² = Σ q² − 2 Σ pq + Σ p²
        squares = part.add_(p.square().sum(1, keepdim=True)).add_(squares)
    return squares.clamp_min_(0).div_(x.shape[1]).sqrt_().div_(255)


def _grey(images: Tensor) -> Tensor:
    """Grey levels less 128 of images, (N, D): float32 from uint8, float64 from float in [0, 1]."""
    check_images(images)
    x = images.flatten(1)
    return x.double() * 255 - 128 if x.is_floating_point() else x.float() - 128


def nearest(queries: Tensor, references: Tensor, batch_size: int = 10_000) -> tuple[Tensor, Tensor]:
    """Distance of each query to the nearest reference, and that one's index, (N,) each."""
    best = [rms_distances(queries, part).min(1) for part in references.split(batch_size)]
    distances, indices = (torch.stack(column) for column in zip(*best, strict=True))  # (parts, N)
    indices += torch.arange(len(best))[:, None] * batch_size
    winner = distances.argmin(0, keepdim=True)
    return distances.gather(0, winner)[0], indices.gather(0, winner)[0]
