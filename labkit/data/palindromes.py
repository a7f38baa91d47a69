"""Palindromes of digits: read all but the last digit, name the last.

A palindrome of length T is fixed by its first ⌈T/2⌉ digits, the free ones. Its last digit is its
first, so the task is to remember one digit for T − 2 steps. A hash of the free digits sends one
palindrome in five to the held-out split, which is never trained on.

    >>> digits = sample(2, 5, "train", torch.Generator().manual_seed(0))
    >>> digits.tolist()
    [[4, 9, 3, 9, 4], [0, 3, 9, 3, 0]]
    >>> x, y = inputs(digits), targets(digits)  # float (2, 4, 10) and [4, 0]
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from labkit.data import splits
from labkit.data.splits import SPLITS


def is_held_out(digits: Tensor) -> Tensor:
    """Whether each palindrome (N, T) is held out, bool (N,); its free digits and T decide."""
    length = digits.shape[1]
    return splits.is_held_out(F.pad(digits[:, : _n_free(length)], (1, 0), value=length))


def mirror(free: Tensor, length: int) -> Tensor:
    """The palindromes (N, T) whose first ⌈T/2⌉ digits are `free` (N, ⌈T/2⌉)."""
    return torch.cat([free, free[:, : length // 2].flip(1)], dim=1)


def sample(n: int, length: int, split: str, generator: torch.Generator) -> Tensor:
    """`n` random palindromes of one of SPLITS, int64 (n, T); ValueError for T < 2 or n < 1."""
    n_free = _n_free(length)

    def draw(m: int) -> Tensor:
        return mirror(torch.randint(10, (m, n_free), generator=generator), length)

    return splits.sample_split(draw, is_held_out, n, split)


def enumerate_all(length: int, split: str) -> Tensor:
    """Every palindrome of one of SPLITS, int64 (N, T), for T from 2 to 12 (a million)."""
    n_free = _n_free(length)
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}, got {split!r}")
    if length > 12:
        raise ValueError(f"10^{n_free} palindromes of length {length} are too many; use sample()")
    free = torch.cartesian_prod(*[torch.arange(10)] * n_free).reshape(-1, n_free)
    digits = mirror(free, length)
    return digits[is_held_out(digits) == (split == "held_out")]


def _n_free(length: int) -> int:
    if length < 2:
        raise ValueError(f"a palindrome needs length T >= 2, one digit to name; got T = {length}")
    return (length + 1) // 2


def one_hot(digits: Tensor) -> Tensor:
    """Ten indicators a digit: (…) → float (…, 10)."""
    return F.one_hot(digits, 10).float()


def scalar(digits: Tensor) -> Tensor:
    """The value of each digit, 0 to 9: (…) → float (…, 1)."""
    return digits[..., None].float()


def standardised(digits: Tensor) -> Tensor:
    """The value of each digit, scaled to mean 0 and variance 1: (…) → float (…, 1)."""
    return (scalar(digits) - 4.5) / 8.25**0.5  # a uniform digit has variance (10² − 1) / 12


def inputs(digits: Tensor, encoding: Callable[[Tensor], Tensor] = one_hot) -> Tensor:
    """What the network reads: the first T − 1 of digits (N, T), encoded as float (N, T − 1, D)."""
    return encoding(digits[:, :-1])


def targets(digits: Tensor) -> Tensor:
    """What the network names: the last digit, int64 (N,)."""
    return digits[:, -1]
