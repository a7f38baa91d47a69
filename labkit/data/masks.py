"""Masks for inpainting: float, 1 where an image may be seen and 0 where it is hidden."""

import torch
from torch import Tensor

SIDES = ("left", "right", "top", "bottom")


def visible_part(share: float, side: str = "left", size: int = 64) -> Tensor:
    """A mask (1, size, size) that shows `share` of the image, from `side` on.

    Raises ValueError for a share outside of [0, 1], an unknown side and a size below 1.
    """
    if not 0 <= share <= 1 or side not in SIDES or size < 1:
        raise ValueError(
            f"expected a share from 0 to 1, one of {', '.join(SIDES)} and a size of 1 or more;"
            f" got {share}, {side!r} and {size}"
        )
    line = (torch.arange(size) < round(share * size)).float()  # seen from the left
    line = line.flip(0) if side in ("right", "bottom") else line
    return (line if side in ("left", "right") else line[:, None]).expand(1, size, size).contiguous()


def random_masks(n: int, generator: torch.Generator, size: int = 64) -> Tensor:
    """Masks (n, 1, size, size), each with a share drawn from U(0, 1) and a random side."""
    share = torch.rand(n, 1, 1, 1, generator=generator)
    seen = (torch.arange(size) < size * share).float()  # (n, 1, 1, size)
    side = torch.randint(len(SIDES), (n, 1, 1, 1), generator=generator)
    seen = torch.where(side % 2 == 1, seen.flip(3), seen)
    return torch.where(side < 2, seen.expand(n, 1, size, size), seen.mT.expand(n, 1, size, size))
