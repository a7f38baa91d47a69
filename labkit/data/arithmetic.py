"""Sums and differences as sequences of characters: "14+26" → " 40", " 3-12" → " -9"; as tokens, and
as pictures of handwriting.

A query has two operands of up to d digits around its sign, 2d + 1 characters; its answer has d + 1.
Both are padded with blanks on the left, so that units stand under units. The split goes by the
unordered pair of operands: 14+26, 26+14, 14−26 and 26−14 are on one side.

    >>> queries = all_queries()                                   # 20,000 of them
    >>> train, held_out = split(queries)                          # indices
    >>> queries[train].tokens()                                   # int64 (N, 5), places in SYMBOLS
    >>> bank = glyphs(images.load("mnist"), "train")
    >>> draw(queries[train[:32]].tokens(), bank, generator)       # uint8 (32, 5, 1, 28, 28)
"""

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from labkit.data.images import ImageSet
from labkit.data.synthetic.operators import operators

SYMBOLS = "0123456789+- "
PLUS, MINUS, BLANK = 10, 11, 12  # their places in SYMBOLS
HELD_OUT_IN_TEN = 2
OPERATOR_SEEDS = {"train": 10, "test": 11}
SIGNS = str.maketrans(
    {"−": "-", "–": "-"}
)  # what a phone's keyboard or a copied text may give for a minus


@dataclass(frozen=True)
class Queries:
    """`a` ± `b`, int64 (N,) each, `sign` +1 or −1, operands of up to `digits` digits."""

    a: Tensor
    b: Tensor
    sign: Tensor
    digits: int = 2

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
        """A number for the unordered pair of operands, int64 (N,): the same for 14+26, 26+14, 14−26
        and 26−14.
        """
        return torch.minimum(self.a, self.b) * 10**self.digits + torch.maximum(self.a, self.b)

    def tokens(self) -> Tensor:
        """The queries as places in SYMBOLS, int64 (N, 2·digits + 1)."""
        operator = torch.where(self.sign > 0, PLUS, MINUS)[:, None]
        return torch.cat([write(self.a, self.digits), operator, write(self.b, self.digits)], dim=1)

    def answers(self) -> Tensor:
        """The answers as places in SYMBOLS, int64 (N, digits + 1), a minus directly before its
        number.
        """
        return write(self.result, self.digits + 1)


def write(numbers: Tensor, width: int) -> Tensor:
    """Whole numbers (N,) as tokens (N, width), right-aligned, a minus directly before the first
    digit. They must fit.
    """
    powers = 10 ** torch.arange(width - 1, -1, -1, device=numbers.device)
    shifted = numbers.abs()[:, None] // powers
    leading = (shifted == 0) & (
        powers > 1
    )  # zeros before the number; the last place always has a digit
    before_first = leading & ~leading.roll(-1, dims=1)
    tokens = torch.where(leading, BLANK, shifted % 10)
    return torch.where(before_first & (numbers < 0)[:, None], MINUS, tokens)


def decode(tokens: Tensor) -> list[str]:
    """Tokens (N, L) as N strings of L characters."""
    return ["".join(SYMBOLS[k] for k in row) for row in tokens.tolist()]


def parse(text: str, digits: int = 2) -> Queries:
    """The one query that `text` spells, spaces at will. Raises ValueError, saying what a query
    looks like, for anything else.
    """
    compact = re.sub(r"\s", "", text).translate(SIGNS)
    match = re.fullmatch(r"([0-9]+)([+-])([0-9]+)", compact)
    example = {2: '"14+26" or "3-17"'}.get(digits, f'"{"9" * digits}+{"1" * digits}"')
    asked = f"type two whole numbers of 1 to {digits} digits with + or - between them, such as {example}"
    if not compact:
        raise ValueError(f"There is no query: {asked}.")
    if stranger := next((c for c in compact if c not in SYMBOLS), None):
        raise ValueError(f"{text!r} is no query, for it has {stranger!r}: {asked}.")
    if not match:
        fault = (
            "a number is missing or there is a sign too many"
            if re.search("[+-]", compact)
            else "it has no + or -"
        )
        raise ValueError(f"{text!r} is no query, for {fault}: {asked}.")
    a, operator, b = match.groups()
    if max(len(a), len(b)) > digits:
        raise ValueError(
            f"{text!r} is no query here, for {max(a, b, key=len)} has {max(len(a), len(b))} digits: {asked}."
        )
    return Queries(
        torch.tensor([int(a)]),
        torch.tensor([int(b)]),
        torch.tensor([1 if operator == "+" else -1]),
        digits,
    )


def all_queries(digits: int = 2, operators: str = "+-") -> Queries:
    """Every query with operands of up to `digits` digits: 20,000 for two. Raises ValueError for
    more than three digits: use sample().
    """
    if not 1 <= digits <= 3:
        raise ValueError(
            f"all_queries lists operands of 1 to 3 digits, got {digits}: there would be {2 * 10 ** (2 * digits):,}; use sample()"
        )
    numbers = torch.arange(10**digits)
    a, b, sign = torch.cartesian_prod(numbers, numbers, _signs(operators)).unbind(1)
    return Queries(a, b, sign, digits)


def sample(
    n: int, digits: int, operators: str, generator: torch.Generator, split: str = "train"
) -> Queries:
    """`n` random queries of one split, "train" or "held_out", told apart by a hash of the unordered
    pair: nothing is stored or listed.
    """
    if split not in ("train", "held_out"):
        raise ValueError(f'split must be "train" or "held_out", got {split!r}')
    signs, kept = _signs(operators), None
    while kept is None or len(kept) < n:  # rejection: draw freely, keep what belongs to the split
        size = 6 * n if split == "held_out" else 2 * n
        a, b = torch.randint(10**digits, (2, size), generator=generator)
        drawn = Queries(
            a, b, signs[torch.randint(len(signs), (size,), generator=generator)], digits
        )
        drawn = drawn[is_held_out(drawn) == (split == "held_out")]
        kept = (
            drawn
            if kept is None
            else Queries(
                *(torch.cat([getattr(q, f) for q in (kept, drawn)]) for f in ("a", "b", "sign")),
                digits,
            )
        )
    return kept[slice(n)]


def _signs(operators: str) -> Tensor:
    if not operators or set(operators) - set("+-"):
        raise ValueError(f'operators must be "+", "-" or "+-", got {operators!r}')
    return torch.tensor([1 if operator == "+" else -1 for operator in operators])


def is_held_out(queries: Queries) -> Tensor:
    """Whether each query's pair belongs to the fifth that sample() holds out; bool (N,)."""
    h = (
        queries.pair + queries.digits
    ) * 6364136223846793005  # splitmix-style mixing; int64 wraps around, as a hash wants
    h = (h ^ ((h >> 29) & 0x7FFFFFFFF)) * 2862933555777941757
    return (h ^ (h >> 32)).remainder(10) < HELD_OUT_IN_TEN


def split(
    queries: Queries, held_out: float | range = 0.2, seed: int = 0, by: str = "pair"
) -> tuple[Tensor, Tensor]:
    """Indices (train, held out) into `queries`.

    by: "pair", a share `held_out` of the unordered pairs with all of their queries; "query", a
    share of the queries, which leaves most of their commuted twins in training (only to see what
    that does); "operand", all queries with an operand in `held_out`, a range.
    """
    generator = torch.Generator().manual_seed(seed)
    if by == "operand":
        if not isinstance(held_out, range):
            raise ValueError(
                f'by="operand" holds out a range of operands, such as range(40, 50); got {held_out!r}'
            )
        numbers = torch.tensor(held_out)
        out = torch.isin(queries.a, numbers) | torch.isin(queries.b, numbers)
    elif by in ("pair", "query"):
        keys = queries.pair if by == "pair" else torch.arange(len(queries))
        groups = keys.unique()
        chosen = groups[
            torch.randperm(len(groups), generator=generator)[: round(held_out * len(groups))]
        ]
        out = torch.isin(keys, chosen)
    else:
        raise ValueError(f'by must be "pair", "query" or "operand", got {by!r}')
    train, test = (~out).nonzero()[:, 0], out.nonzero()[:, 0]
    if by != "query":
        assert not torch.isin(queries.pair[train], queries.pair[test]).any(), (
            "a pair of operands is on both sides of the split"
        )
    return train, test


@dataclass(frozen=True)
class Glyphs:
    """Handwritten pictures of every symbol: uint8 `images` (M, 1, 28, 28), sorted; those of symbol
    k are `count[k]` from `first[k]` on.
    """

    images: Tensor
    first: Tensor
    count: Tensor

    @property
    def labels(self) -> Tensor:
        """The symbol of each image, int64 (M,)."""
        return torch.repeat_interleave(torch.arange(len(SYMBOLS)), self.count)


def glyphs(images: ImageSet, half: str, operators_per: int | None = None, seed: int = 0) -> Glyphs:
    """The pictures of one half, "train" or "test", of a set of digits, with drawn + and − and a
    blank.

    operators_per: pictures of each sign, by default as many as of a digit, 3,000 at most. Train and
    test share neither digit nor sign. Raises ValueError for another half and for a set that is not
    of digits.
    """
    if half not in OPERATOR_SEEDS:
        raise ValueError(f'half must be "train" or "test", got {half!r}')
    if images.name != "mnist":
        raise ValueError(f'glyphs needs a set of digits, images.load("mnist"); got {images.title}')
    pictures, labels = (
        (images.train, images.train_labels)
        if half == "train"
        else (images.test, images.test_labels)
    )
    n = operators_per or min(3000, max(1, len(pictures) // 10))
    drawn = operators(
        2 * n, seed=100 * seed + OPERATOR_SEEDS[half], labels=torch.arange(2).repeat_interleave(n)
    )
    blank = pictures.new_zeros(1, *pictures.shape[1:])
    count = torch.cat([labels.bincount(minlength=10), torch.tensor([n, n, 1])])
    if (count == 0).any():
        raise ValueError(
            f"{images.title} has no {int((count == 0).nonzero()[0])} among its {len(pictures)} {half} images; load more of them"
        )
    return Glyphs(
        torch.cat([pictures[labels.argsort(stable=True)], drawn.images, blank]),
        count.cumsum(0) - count,
        count,
    )


def draw(tokens: Tensor, bank: Glyphs, generator: torch.Generator) -> Tensor:
    """Each symbol of `tokens` (N, L) as one of its pictures in the bank, by chance; uint8 (N, L, 1,
    28, 28).
    """
    chance = torch.rand(tokens.shape, generator=generator, dtype=torch.float64)
    return bank.images[bank.first[tokens] + (chance * bank.count[tokens]).long()]
