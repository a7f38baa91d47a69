"""What every stand-in generator returns, and how it splits its work."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

CHUNK = 512  # images rendered at once: small enough for the distance fields to stay in cache


@dataclass(frozen=True)
class StandIn:
    """Rendered images with the factors that generated them.

    images: uint8 (N, C, H, W); labels: int64 (N,); factors: name → float32 (N,), the true values
    used in rendering.
    """

    images: Tensor
    labels: Tensor
    factors: dict[str, Tensor]


def draw_labels(n: int, seed: int, labels: Tensor | None, classes: int = 10) -> Tensor:
    """The labels asked for, or `n` uniform ones by `seed`; int64 (n,).

    Raises ValueError for a bad count or label.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1 image, got {n}")
    if labels is None:
        return torch.randint(
            classes, (-(-n // CHUNK) * CHUNK,), generator=torch.Generator().manual_seed(seed)
        )[:n]
    labels = torch.as_tensor(labels, dtype=torch.int64)
    if labels.shape != (n,) or labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"labels must be {n} whole numbers from 0 to {classes - 1}, one for each image; got"
            f" shape {tuple(labels.shape)}"
        )
    return labels


def chunks(n: int, seed: int) -> Iterator[tuple[slice, torch.Generator]]:
    """The slices of a set of `n`, each with its own generator.

    So a small set is the beginning of a large one.
    """
    for k, start in enumerate(range(0, n, CHUNK)):
        yield (
            slice(start, min(start + CHUNK, n)),
            torch.Generator().manual_seed((seed + 1) * 1_000_003 + k),
        )


@contextmanager
def one_thread() -> Iterator[None]:
    """A context in which torch uses one thread.

    On arrays this small, waiting for a second thread costs more than it saves.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
