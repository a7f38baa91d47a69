"""Sums and differences as sequences of characters: "14+26" → " 40", " 3-12" → " -9".

A query has two operands of up to d digits around its sign, 2d + 1 characters; its answer has d + 1.
Both are padded with blanks on the left, and come as tokens, places in SYMBOLS, or as pictures of
handwriting. Splits go by the unordered pair: 14+26, 26+14, 14−26 and 26−14 are on one side.

    >>> queries = all_queries()  # 20,000 of them
    >>> tokens = queries[~held_out(queries)].tokens()  # int64 (N, 5)
    >>> handwrite(tokens[:32], glyphs(load("mnist"), "train"), generator)  # (32, 5, 1, 28, 28)
"""

import re
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from labkit.data import splits
from labkit.data.images import ImageSet
from labkit.data.synthetic.operators import operators as draw_operators

SYMBOLS = "0123456789+- "
PLUS, MINUS, BLANK = 10, 11, 12  # their places in SYMBOLS


@dataclass(frozen=True)
class Queries:
    """`a` ± `b`, int64 (N,) each, `sign` +1 or −1; ValueError for more than `digits` digits."""

    a: Tensor
    b: Tensor
    sign: Tensor
    digits: int = 2

    def __post_init__(self):
        if not 1 <= self.digits <= 9:
            raise ValueError(f"operands have 1 to 9 digits, got {self.digits}")
        operands = torch.cat([self.a, self.b])
        if ((operands < 0) | (operands >= 10**self.digits)).any():
            raise ValueError(f"an operand is negative or has more than {self.digits} digits")

    def __len__(self) -> int:
        return len(self.a)

    def __getitem__(self, index: Tensor | slice) -> "Queries":
        return Queries(self.a[index], self.b[index], self.sign[index], self.digits)

    @property
    def result(self) -> Tensor:
        """The value of a ± b, int64 (N,)."""
        return self.a + self.sign * self.b

    @property
    def pair(self) -> Tensor:
        """A number for the unordered pair of operands, int64 (N,): one for 14+26 and 26−14."""
        return torch.minimum(self.a, self.b) * 10**self.digits + torch.maximum(self.a, self.b)

    def tokens(self) -> Tensor:
        """The queries as places in SYMBOLS, int64 (N, 2·digits + 1)."""
        operator = torch.where(self.sign > 0, PLUS, MINUS)[:, None]
        a, b = (encode(operand, self.digits) for operand in (self.a, self.b))
        return torch.cat([a, operator, b], dim=1)

    def answers(self) -> Tensor:
        """The answers as places in SYMBOLS, int64 (N, digits + 1)."""
        return encode(self.result, self.digits + 1)


def encode(numbers: Tensor, width: int) -> Tensor:
    """Numbers (N,) that fit as tokens (N, width), right-aligned, a minus just before its number."""
    powers = 10 ** torch.arange(width - 1, -1, -1, device=numbers.device)
    shifted = numbers.abs()[:, None] // powers
    leading = (shifted == 0) & (powers > 1)  # the last place always has a digit
    before_first = leading & ~leading.roll(-1, dims=1)
    tokens = torch.where(leading, BLANK, shifted % 10)
    return torch.where(before_first & (numbers < 0)[:, None], MINUS, tokens)


def decode(tokens: Tensor) -> list[str]:
    """Tokens (N, L) as N strings of L characters."""
    return ["".join(SYMBOLS[k] for k in row) for row in tokens.tolist()]


def parse(text: str, digits: int = 2) -> Queries:
    """The one query that `text` spells, whatever its spaces; ValueError if it spells none."""
    compact = re.sub("[−–]", "-", re.sub(r"\s", "", text))  # signs of phones and copied texts
    match = re.fullmatch(r"([0-9]+)([+-])([0-9]+)", compact)
    longest = max(match.group(1, 3), key=len) if match else ""
    if match and len(longest) <= digits:
        a, sign, b = match.groups()
        return Queries(*(torch.tensor([int(part)]) for part in (a, b, f"{sign}1")), digits)
    stranger = next((c for c in compact if c not in SYMBOLS), None)
    fault = "a number or its sign is missing or one too many"
    if match:
        fault = f"{longest} has {len(longest)} digits"
    elif stranger:
        fault = f"it has {stranger!r}"
    example = '"14+26" or "3-17"' if digits == 2 else f'"{"9" * digits}+{"1" * digits}"'
    what = f"type two whole numbers of 1 to {digits} digits with + or - between them"
    raise ValueError(f"{text!r} is not a query ({fault}): {what}, such as {example}.")


def all_queries(digits: int = 2, operators: str = "+-") -> Queries:
    """Every query with operands of 1 to 3 digits, 20,000 for two; ValueError for more digits."""
    if not 1 <= digits <= 3:
        raise ValueError(f"all_queries lists 1 to 3 digits, got {digits}; for more use sample()")
    numbers = torch.arange(10**digits)
    a, b, sign = torch.cartesian_prod(numbers, numbers, _signs(operators)).unbind(1)
    return Queries(a, b, sign, digits)


def sample(
    n: int, digits: int, operators: str, generator: torch.Generator, split: str = "train"
) -> Queries:
    """`n` random queries of one split, "train" or "held_out", by a hash of the unordered pair.

    Raises ValueError for n < 1, digits not from 1 to 9, or another split.
    """
    signs = _signs(operators)
    if not 1 <= digits <= 9:
        raise ValueError(f"operands have 1 to 9 digits, got {digits}")

    def draw(m: int) -> Tensor:
        a, b = torch.randint(10**digits, (2, m), generator=generator)
        return torch.stack([a, b, signs[torch.randint(len(signs), (m,), generator=generator)]], 1)

    def is_out(rows: Tensor) -> Tensor:  # the same for both orders and both signs
        return splits.is_held_out(F.pad(rows[:, :2].sort(1).values, (1, 0), value=digits))

    return Queries(*splits.sample_split(draw, is_out, n, split).unbind(1), digits)


def _signs(operators: str) -> Tensor:
    if not operators or set(operators) - set("+-"):
        raise ValueError(f'operators must be "+", "-" or "+-", got {operators!r}')
    return torch.tensor([int(f"{operator}1") for operator in operators])


def held_out(
    queries: Queries, share: float = 0.2, seed: int = 0, keys: Tensor | None = None
) -> Tensor:
    """Whether each query is held out, bool (N,): a `share` of the unordered pairs of operands is.

    keys: int64 (N,), to hold out groups other than pairs. Raises ValueError if a side is empty.
    """
    keys = queries.pair if keys is None else keys
    groups = keys.unique()
    n = round(share * len(groups))
    if not 0 < n < len(groups):
        raise ValueError(f"share must be between 0 and 1 and leave some on both sides, got {share}")
    order = torch.randperm(len(groups), generator=torch.Generator().manual_seed(seed))
    return torch.isin(keys, groups[order[:n]])


@dataclass(frozen=True)
class Glyphs:
    """Pictures uint8 (M, 1, 28, 28) sorted by symbol: of symbol k `count[k]` from `first[k]` on."""

    images: Tensor
    first: Tensor
    count: Tensor

    @property
    def labels(self) -> Tensor:
        """The symbol of each image, int64 (M,)."""
        return torch.repeat_interleave(torch.arange(len(SYMBOLS)), self.count)


def glyphs(images: ImageSet, half: str) -> Glyphs:
    """The digits of one half of MNIST, "train" or "test", with drawn + and − and a blank.

    There are as many pictures of a sign as of a digit, 3,000 at most; the halves share none.
    Raises ValueError for another half or another set.
    """
    if half not in ("train", "test"):
        raise ValueError(f'half must be "train" or "test", got {half!r}')
    if images.name != "mnist":
        raise ValueError(f'glyphs needs a set of digits, images.load("mnist"); got {images.title}')
    pictures, labels, seed = images.train, images.train_labels, 10
    if half == "test":
        pictures, labels, seed = images.test, images.test_labels, 11
    n = min(3000, max(1, len(pictures) // 10))
    kind = torch.arange(2).repeat_interleave(n)  # n times +, n times −
    drawn = draw_operators(2 * n, seed=seed, labels=kind)
    count = torch.cat([labels.bincount(minlength=10), torch.tensor([n, n, 1])])
    if (count == 0).any():
        what = f"no {count.argmin()} among its {len(pictures)} {half} images"
        raise ValueError(f"{images.title} has {what}; load more")
    blank = pictures.new_zeros(1, *pictures.shape[1:])
    by_symbol = torch.cat([pictures[labels.argsort(stable=True)], drawn.images, blank])
    return Glyphs(by_symbol, count.cumsum(0) - count, count)


def handwrite(tokens: Tensor, bank: Glyphs, generator: torch.Generator) -> Tensor:
    """A random picture from `bank` for each symbol of `tokens` (N, L): uint8 (N, L, 1, 28, 28)."""
    chance = torch.rand(tokens.shape, generator=generator, dtype=torch.float64)
    return bank.images[bank.first[tokens] + (chance * bank.count[tokens]).long()]
