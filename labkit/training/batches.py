"""Batches by index from a data set that is one tensor on the device."""

from functools import lru_cache

import torch
from torch import Tensor


class Batches:
    """Shuffled batches of uint8 images (N, C, H, W) and, if given, their labels (N,).

    `batches(step)` gives the images, still uint8, and the labels or None. Each epoch is a new
    order, found from seed and epoch alone, so that a resumed run goes on in the middle of one; its
    last, smaller batch is left out. Raises ValueError for images that are not uint8, fewer of them
    than a batch, or labels that do not fit.
    """

    def __init__(
        self,
        images: Tensor,
        batch_size: int,
        seed: int,
        labels: Tensor | None = None,
        device: torch.device | str = "cpu",
    ):
        if images.dtype != torch.uint8 or images.ndim != 4:
            found = f"{images.dtype} {tuple(images.shape)}"
            raise ValueError(
                f"expected images uint8 (N, C, H, W), got {found}; pass them as loaded"
            )
        if not 1 <= batch_size <= len(images):
            few = f"a batch has {batch_size} images and there are {len(images)}"
            raise ValueError(f"{few}; pass more images or a smaller batch_size")
        if labels is not None and labels.shape != images.shape[:1]:
            raise ValueError(f"{len(images)} images need as many labels, got {tuple(labels.shape)}")
        self.images, self.batch_size, self.seed = images.to(device), batch_size, seed
        self.labels = None if labels is None else labels.to(device)
        self.per_epoch = len(images) // batch_size

    def steps(self, epochs: float) -> int:
        """The number of steps in so many epochs, at least one. Raises ValueError for 0 or less."""
        if not epochs > 0:
            raise ValueError(f"epochs must be more than 0, got {epochs}")
        return max(1, round(epochs * self.per_epoch))

    def __call__(self, step: int) -> tuple[Tensor, Tensor | None]:
        index = batch_of(step, len(self.images), self.batch_size, self.seed).to(self.images.device)
        return self.images[index], None if self.labels is None else self.labels[index]


def batch_of(step: int, n: int, batch_size: int, seed: int) -> Tensor:
    """Indices (batch_size,) of batch `step` of n items."""
    epoch, k = divmod(step, n // batch_size)
    return _order(n, epoch, seed)[k * batch_size : (k + 1) * batch_size]


@lru_cache(maxsize=1)
def _order(n: int, epoch: int, seed: int) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed * 100_003 + epoch))


def due_at(
    stages: tuple[float, ...], epochs: float, per_epoch: int, steps: int
) -> dict[int, list[float]]:
    """Step → the epochs due after it, fractions allowed; `epochs`, the run's end, at the last.

    Several may fall on one step. Raises ValueError for a stage below 0 or beyond the end.
    """
    due: dict[int, list[float]] = {}
    for epoch in stages:
        if not 0 <= epoch <= epochs:
            raise ValueError(f"stage {epoch} is not in a run of {epochs:g} epochs")
        due.setdefault(min(round(epoch * per_epoch), steps), []).append(epoch)
    due.setdefault(steps, []).append(epochs)
    return due
