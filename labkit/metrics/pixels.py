"""What is in the pixels of a data set: grey levels, class means, exact copies, nearest neighbours.

Images are uint8 (N, C, H, W). Distances are root mean square differences of pixels in [0, 1]: 0 for
a copy, 1 between black and white.
"""

from itertools import combinations

import torch
from torch import Tensor


def grey_levels(images: Tensor) -> Tensor:
    """How many pixels have each of the 256 values, int64 (256,). Raises TypeError for images that
    are not uint8.
    """
    if images.dtype != torch.uint8:
        raise TypeError(
            f"grey levels are counted in uint8 images, got {images.dtype}; pass ImageSet.train or .test as loaded"
        )
    return torch.bincount(images.flatten(), minlength=256)


def summarise(counts: Tensor) -> dict[str, float]:
    """Mean and standard deviation of the pixels in [0, 1] and the share of black ones, from their
    `grey_levels` (256,).
    """
    share = counts.double() / counts.sum()
    values = torch.linspace(0, 1, 256, dtype=torch.float64)
    mean = (share * values).sum()
    return {
        "mean": mean.item(),
        "sd": (share * (values - mean) ** 2).sum().sqrt().item(),
        "black": share[0].item(),
    }


def class_means(images: Tensor, labels: Tensor, classes: int) -> Tensor:
    """The mean image of each class in [0, 1], float32 (classes, C, H, W); black for a class without
    images.
    """
    totals = torch.zeros(classes, *images.shape[1:])
    for label in labels.unique().tolist():
        totals[label] = images[labels == label].float().mean(0) / 255
    return totals


def exact_copies(queries: Tensor, references: Tensor) -> Tensor:
    """Every pair of a query and a reference with the same pixels, as indices int64 (M, 2)."""
    places: dict[bytes, list[int]] = {}
    for k, image in enumerate(references.flatten(1).numpy()):
        places.setdefault(image.tobytes(), []).append(k)
    pairs = [
        (q, k)
        for q, image in enumerate(queries.flatten(1).numpy())
        for k in places.get(image.tobytes(), [])
    ]
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)


def distinct(images: Tensor) -> int:
    """The number of different images: copies count once."""
    return len({image.tobytes() for image in images.flatten(1).numpy()})


def rms_distances(a: Tensor, b: Tensor) -> Tensor:
    """All distances between images a (N, …) and b (M, …), float32 (N, M)."""
    a, b = (images.flatten(1).float() / 255 for images in (a, b))
    return torch.cdist(a, b) / a.shape[1] ** 0.5


def nearest(queries: Tensor, references: Tensor, batch_size: int = 10_000) -> tuple[Tensor, Tensor]:
    """For each query (N) the distance to its nearest reference, float32 (N,), and that reference's
    index, int64 (N,).

    References are compared `batch_size` at a time, so that memory holds N × batch_size distances.
    """
    best = [rms_distances(queries, part).min(1) for part in references.split(batch_size)]
    distances, indices = (torch.stack(column) for column in zip(*best, strict=True))  # (parts, N)
    offsets = torch.arange(len(best))[:, None] * batch_size
    winner = distances.argmin(0, keepdim=True)
    return distances.gather(0, winner)[0], (indices + offsets).gather(0, winner)[0]


def closest_across(images: Tensor, labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The closest two images of each pair of classes; of these the `count` closest: indices int64
    (count, 2), distances (count,).

    One pair for each pair of classes, for otherwise the most alike classes would fill the list.
    Raises ValueError for a single class.
    """
    places = {label: (labels == label).nonzero()[:, 0] for label in labels.unique().tolist()}
    if len(places) < 2:
        raise ValueError(
            "pairs across classes need images of at least two classes; take more images or another set"
        )
    found = []
    for one, other in combinations(places, 2):
        distances = rms_distances(images[places[one]], images[places[other]])
        i, j = divmod(distances.argmin().item(), distances.shape[1])
        found.append((distances[i, j].item(), places[one][i].item(), places[other][j].item()))
    found = sorted(found)[:count]
    return torch.tensor([pair[1:] for pair in found]), torch.tensor([pair[0] for pair in found])
