"""Train and held-out sides told apart by a hash, so that nothing has to be listed or stored."""

from collections.abc import Callable

import torch
from torch import Tensor

SPLITS = ("train", "held_out")
HELD_OUT_IN_TEN = 2


def is_held_out(keys: Tensor) -> Tensor:
    """Whether each row of whole numbers `keys`, int64 (N, K), falls in the held-out fifth; (N,)."""
    h = keys[:, 0]
    for column in keys[:, 1:].unbind(1):  # as splitmix; int64 wraps around, as a hash wants
        h = (h + column + 1) * 6364136223846793005
        h = h ^ ((h >> 29) & 0x7FFFFFFFF)
    return (h >> 33) % 10 < HELD_OUT_IN_TEN


def sample_split(draw: Callable[[int], Tensor], is_out: Callable, n: int, split: str) -> Tensor:
    """`n` rows of one of SPLITS from draw(m), m random rows, and is_out(rows), which are held out.

    Raises ValueError for another split or n < 1.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}, got {split!r}")
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    kept: list[Tensor] = []
    while sum(map(len, kept)) < n:
        rows = draw(6 * n if split == "held_out" else 2 * n)
        kept.append(rows[is_out(rows) == (split == "held_out")])
    return torch.cat(kept)[:n]
