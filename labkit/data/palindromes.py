"""Palindromes of digits: read all but the last digit, name the last.

A palindrome of length T is fixed by its first ⌈T/2⌉ digits, the free ones; the last digit equals
the first, so the task is to carry one digit over T − 2 steps. The split goes by the free digits: a
hash of them decides, so a held-out palindrome is never drawn for training, at any length and with
nothing stored.

    >>> digits = sample(2, 5, "train", torch.Generator().manual_seed(0))    # for example [[4, 9, 3,
    9, 4], [0, 3, 9, 3, 0]]
    >>> x, y = inputs(digits, "one_hot"), targets(digits)                   # (2, 4, 10) and [4, 0]
"""

import torch
import torch.nn.functional as F
from torch import Tensor

SPLITS = ("train", "held_out")
ENCODINGS = {"one_hot": 10, "scalar": 1, "standardised": 1}  # name → input width
HELD_OUT_IN_TEN = 2


def _check_length(length: int) -> None:
    if length < 2:
        raise ValueError(
            f"a palindrome to predict needs length T >= 2 (one digit to read, one to name), got T = {length}"
        )


def is_held_out(digits: Tensor) -> Tensor:
    """Whether each palindrome (N, T) belongs to the held-out fifth; bool (N,). Depends on the free
    digits only.
    """
    length = digits.shape[1]
    h = torch.full_like(digits[:, 0], length)
    for t in range(
        (length + 1) // 2
    ):  # splitmix-style mixing; int64 wraps around, which is what a hash wants
        h = (h + digits[:, t] + 1) * 6364136223846793005
        h = h ^ ((h >> 29) & 0x7FFFFFFFF)
    return (h >> 33) % 10 < HELD_OUT_IN_TEN


def mirror(free: Tensor, length: int) -> Tensor:
    """The palindromes (N, T) whose first ⌈T/2⌉ digits are `free` (N, ⌈T/2⌉)."""
    return torch.cat([free, free[:, : length // 2].flip(1)], dim=1)


def sample(n: int, length: int, split: str, generator: torch.Generator) -> Tensor:
    """`n` random palindromes of one split, int64 (n, T). Raises ValueError for T < 2 or an unknown
    split.

    At T = 2 there is one free digit, so the held-out fifth is whole digits that training never
    shows.
    """
    _check_length(length)
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}, got {split!r}")
    kept = torch.empty(0, length, dtype=torch.int64)
    while len(kept) < n:  # rejection: draw freely, keep what belongs to the split
        digits = mirror(
            torch.randint(
                10,
                (6 * n if split == "held_out" else 2 * n, (length + 1) // 2),
                generator=generator,
            ),
            length,
        )
        kept = torch.cat([kept, digits[is_held_out(digits) == (split == "held_out")]])
    return kept[:n]


def enumerate_all(length: int, split: str) -> Tensor:
    """Every palindrome of one split, int64 (N, T), for T up to 12 (a million)."""
    _check_length(length)
    if length > 12:
        raise ValueError(
            f"there are 10^{(length + 1) // 2} palindromes of length {length}, too many to list; use sample()"
        )
    free = torch.cartesian_prod(*[torch.arange(10)] * ((length + 1) // 2)).reshape(
        -1, (length + 1) // 2
    )
    digits = mirror(free, length)
    return digits[is_held_out(digits) == (split == "held_out")]


def inputs(digits: Tensor, encoding: str = "one_hot") -> Tensor:
    """What the model reads, the first T − 1 digits of (N, T), as float (N, T − 1, D): ten
    indicators a digit ("one_hot"), its value 0 to 9 ("scalar"), or that value with mean 0 and
    variance 1 ("standardised"). Raises ValueError for another encoding.
    """
    if encoding not in ENCODINGS:
        raise ValueError(f"encoding must be one of {tuple(ENCODINGS)}, got {encoding!r}")
    read = digits[:, :-1]
    if encoding == "one_hot":
        return F.one_hot(read, 10).float()
    value = read[..., None].float()
    return (
        value if encoding == "scalar" else (value - 4.5) / 8.25**0.5
    )  # the variance of a uniform digit is (10² − 1) / 12


def targets(digits: Tensor) -> Tensor:
    """What the model names: the last digit, int64 (N,)."""
    return digits[:, -1]
