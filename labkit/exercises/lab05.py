"""Lab 05: sums and differences, from one sequence of symbols to another."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from labkit.data.arithmetic import BLANK, MINUS, SYMBOLS
from labkit.exercises.core import Exercise, Function, Mistake, Observation


def _alone(task: Exercise, sentence: str, **switches: Any) -> None:
    """A mistake that is the reference with other switches, and is not tried with a second one."""
    name = ", ".join(f"{key}={getattr(v, '__name__', v)}" for key, v in switches.items())
    task.mistakes.append(Mistake(name, sentence, functools.partial(task.reference, **switches)))


# ── encode_query(a, operator, b, width) → query (2·width + 1,), answer (width + 1,) ──


class _OfTokens(Exercise):
    """An exercise whose results are embedded and are targets: whole numbers have to be int64."""

    def _on(self, probe: Callable[[torch.Generator], tuple], function: Function) -> Observation:
        seen = super()._on(probe, function)
        kinds = {v.dtype for v in seen.values() if isinstance(v, Tensor)}
        short = kinds & {torch.int8, torch.int16, torch.int32}
        return seen | ({"the tokens": "whole numbers, but not int64"} if short else {})


def _calculate(a: int, operator: str, b: int) -> int:
    return a + b if operator == "+" else a - b


def _tokens(text: str) -> Tensor:
    return torch.tensor([SYMBOLS.index(character) for character in text])


def _spelled(number: int) -> str:
    return str(number)


def _query_text(a: int, operator: str, b: int, width: int, pad: Callable) -> str:
    return pad(str(a), width) + operator + pad(str(b), width)


def _both(query: Any, answer: Any) -> Any:
    return query, answer


def _encode_query(
    a: int,
    operator: str,
    b: int,
    width: int,
    *,
    pads=(str.rjust, str.rjust),
    calculate=_calculate,
    spell=_spelled,
    places=1,
    query_text=_query_text,
    give=_both,
    tokens=_tokens,
) -> tuple[Tensor, Tensor]:
    query = query_text(a, operator, b, width, pads[0])
    answer = pads[1](spell(calculate(a, operator, b)), width + places)
    return give(tokens(query), tokens(answer))


encode_query = _OfTokens(
    "encode_query",
    _encode_query,
    probes=[
        lambda g: (3, "-", 12, 2),
        lambda g: (85, "+", 67, 2),
        lambda g: (7, "-", 430, 3),
        lambda g: (14, "+", 26, 3),
        lambda g: (50, "-", 20, 2),
        lambda g: (8, "-", 8, 2),
    ],
    points=2,
    gradients=False,
    tell=("query", "answer"),
    right="All 20,000 queries below are written by your function. Notice that units stand under"
    " units: a place always means the same.",
    hints=(
        "Make two strings first. Their characters become tokens: SYMBOLS.index(character).",
        "Python pads on the left: str(-9).rjust(4) puts two blanks before -9. So does f'{-9:4}'.",
        "The query is a in `width` places, the operator, b in `width` places; the answer has"
        " width + 1 places. Make each a tensor by torch.tensor([...]) and return both.",
    ),
)


def zero_fill(text: str, width: int) -> str:
    return text.rjust(width, "0")


def unpadded(text: str, width: int) -> str:
    return text


for pads, sentence in (
    (
        (str.ljust, str.ljust),
        "The blanks stand after the numbers. Put them before: then units always stand in the last"
        " place, tens in the last but one.",
    ),
    (
        (str.rjust, str.ljust),
        "The blanks of the answer stand after the number. They belong before it, as in the query.",
    ),
    (
        (str.ljust, str.rjust),
        "The blanks of the operands stand after the numbers. They belong before them, as in the"
        " answer.",
    ),
    (
        (str.zfill, str.zfill),
        "Empty places are filled with zeros. The report's answers are padded with blanks, the last"
        " of SYMBOLS.",
    ),
    (
        (str.rjust, str.zfill),
        "Empty places of the answer are filled with zeros. Fill them with blanks, as in the query.",
    ),
    (
        (str.zfill, str.rjust),
        "Empty places of the operands are filled with zeros. Fill them with blanks, as in the"
        " answer.",
    ),
    (
        (zero_fill, zero_fill),
        "Empty places hold token 0, which is the digit 0. A blank is the last of SYMBOLS, token"
        " 12.",
    ),
):
    encode_query.mistake(sentence, pads=pads)


def as_one_text(a: int, operator: str, b: int, width: int, pad: Callable) -> str:
    return pad(f"{a}{operator}{b}", 2 * width + 1)


def not_padded(a: int, operator: str, b: int, width: int, pad: Callable) -> str:
    return f"{a}{operator}{b}"


def only_a(a: int, operator: str, b: int, width: int, pad: Callable) -> str:
    return pad(str(a), width) + operator + str(b)


def no_operator(a: int, operator: str, b: int, width: int, pad: Callable) -> str:
    return pad(str(a), width) + pad(str(b), width)


def operands_exchanged(a: int, operator: str, b: int, width: int, pad: Callable) -> str:
    return _query_text(b, operator, a, width, pad)


def operator_first(a: int, operator: str, b: int, width: int, pad: Callable) -> str:
    return operator + pad(str(a), width) + pad(str(b), width)


for text, sentence in (
    (
        as_one_text,
        "The whole query is padded as one text, so the operator wanders. Pad each operand to"
        " `width` places of its own.",
    ),
    (
        not_padded,
        "The operands are not padded: the query should always have 2·width + 1 symbols, so that"
        " queries fit into one tensor.",
    ),
    (only_a, "The second operand is not padded. Each has `width` places."),
    (no_operator, "The operator is missing from the query: 14+26 and 14-26 would look alike."),
    (
        operator_first,
        "The operator stands before both operands. A query reads as it is written: a, the"
        " operator, b.",
    ),
    (operands_exchanged, "The operands stand in the wrong order in the query: a comes first."),
):
    _alone(encode_query, sentence, query_text=text)


def always_plus(a: int, operator: str, b: int) -> int:
    return a + b


def always_minus(a: int, operator: str, b: int) -> int:
    return a - b


def turned_round(a: int, operator: str, b: int) -> int:
    return a + b if operator == "+" else b - a


for rule, sentence in (
    (always_plus, "The operands are always added. The operator says which it is."),
    (always_minus, "The operands are always subtracted. The operator says which it is."),
    (turned_round, "The difference is b − a. The query says a − b."),
):
    encode_query.mistake(sentence, calculate=rule)


def without_sign(number: int) -> str:
    return str(abs(number))


def sign_behind(number: int) -> str:
    return f"{abs(number)}-" if number < 0 else str(number)


def plus_sign(number: int) -> str:
    return f"{number:+d}"


for spelling, sentence in (
    (without_sign, "The sign of the answer is lost: 3-12 is -9, not 9."),
    (sign_behind, "The minus stands behind the number; it belongs just before its first digit."),
    (plus_sign, "Answers that are not negative need no sign: 40, not +40."),
):
    encode_query.mistake(sentence, spell=spelling)


encode_query.mistake(
    "The answer has `width` places. It needs one more: a sum may have one digit more than its"
    " operands, and a difference a minus.",
    places=0,
)


def answer_first(query: Any, answer: Any) -> Any:
    return answer, query


def query_alone(query: Any, answer: Any) -> Any:
    return query


def answer_alone(query: Any, answer: Any) -> Any:
    return answer


def in_one(query: Any, answer: Any) -> Any:
    return torch.cat([query, answer])


for give, sentence in (
    (answer_first, "The two are returned in the wrong order: first the query, then the answer."),
    (query_alone, "Only the query is returned. Return the answer, too: query, answer."),
    (answer_alone, "Only the answer is returned. Return the query, too: query, answer."),
    (
        in_one,
        "Query and answer are joined into one tensor. Return two: what is read, and what is to be"
        " written.",
    ),
):
    _alone(encode_query, sentence, give=give)


def of_ascii(text: str) -> Tensor:
    return torch.tensor([ord(character) for character in text])


def as_text(text: str) -> str:
    return text


def as_list(text: str) -> list:
    return _tokens(text).tolist()


def as_real(text: str) -> Tensor:
    return _tokens(text).float()


def as_int32(text: str) -> Tensor:
    return _tokens(text).int()


for kind, sentence in (
    (
        of_ascii,
        "These are the computer's codes of the characters. A token is a place in SYMBOLS:"
        " SYMBOLS.index(character).",
    ),
    (as_text, "You return text. The network reads tokens: make a tensor of places in SYMBOLS."),
    (as_list, "You return Python lists. Make each of them a tensor."),
    (as_real, "The tokens are real numbers. They say which symbol, so they are whole: int64."),
    (
        as_int32,
        "The tokens are whole numbers, but not int64. The loss takes only int64 as its targets:"
        " leave out the dtype, or say torch.int64.",
    ),
):
    _alone(encode_query, sentence, tokens=kind)


_alone(
    encode_query,
    "The answer is not padded: blanks before the number fill its width + 1 places.",
    pads=(str.rjust, unpadded),
)


@encode_query.wrong("You always write two places. The argument `width` says how many: use it.")
def two_places(a: int, operator: str, b: int, width: int) -> tuple:
    return _encode_query(a, operator, b, 2)


@encode_query.wrong("You always write three places. The argument `width` says how many: use it.")
def three_places(a: int, operator: str, b: int, width: int) -> tuple:
    return _encode_query(a, operator, b, 3)


@encode_query.wrong(
    "The minus stands in the first place of the answer, before the blanks. It belongs just before"
    " the number."
)
def sign_before_the_blanks(a: int, operator: str, b: int, width: int) -> tuple:
    query, _ = _encode_query(a, operator, b, width)
    result = _calculate(a, operator, b)
    if result >= 0:
        return query, _tokens(str(result).rjust(width + 1))
    return query, _tokens("-" + str(-result).rjust(width))


@encode_query.also_right
def by_division(a: int, operator: str, b: int, width: int) -> tuple[Tensor, Tensor]:
    def places(number: int, width: int) -> Tensor:
        row, rest = torch.full((width,), BLANK), abs(number)
        for place in range(width - 1, -1, -1):
            row[place], rest = rest % 10, rest // 10
            if not rest:
                break
        if number < 0:
            row[place - 1] = MINUS
        return row

    sign = {"+": 1, "-": -1}[operator]
    middle = torch.tensor([SYMBOLS.find(operator)])
    return torch.cat([places(a, width), middle, places(b, width)]), places(a + sign * b, width + 1)


# ── held_out_pairs(a, b) → bool (N,) ──


def _sorted_pair(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    return torch.minimum(a, b), torch.maximum(a, b)


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _fresh() -> None:
    return None


def _below(coins: Tensor) -> Tensor:
    return coins < 0.2


def _held_out_pairs(
    a: Tensor, b: Tensor, *, pair=_sorted_pair, generator=_seeded, decide=_below
) -> Tensor:
    coins = torch.rand(100, 100, generator=generator())
    return decide(coins[pair(a, b)])


@dataclass(frozen=True)
class _Share:
    """A share in words and in percent; two are equal if they are in words."""

    words: str
    share: float = field(compare=False)

    def __repr__(self) -> str:
        return self.words if self.words == "about a fifth" else f"{self.share:.0%}"


def _look_at_split(f: Function) -> Observation:
    """What a split does to all queries of two digits, each of which is there twice."""
    numbers = torch.arange(100)
    pairs = torch.cartesian_prod(numbers, numbers).repeat(2, 1)
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(1))
    a, b = pairs[order].unbind(1)
    mask = f(a.clone(), b.clone())
    if not isinstance(mask, Tensor):
        return {"the answer": "None" if mask is None else f"a {type(mask).__name__}"}
    if mask.shape != a.shape:
        return {"the shape of the answer": str(tuple(mask.shape)).replace("20000", "N")}
    if mask.dtype != torch.bool:
        return {"the answer holds": str(mask.dtype)}
    if mask.all() or not mask.any():
        return {"the answer": "all True" if mask.all() else "all False"}
    one, other = mask[order.argsort()].view(2, 100, 100)  # [a, b]
    again, part = f(a.clone(), b.clone()), f(a[:7000].clone(), b[:7000].clone())
    states = []
    for k in range(2):
        torch.manual_seed(k)
        f(a.clone(), b.clone())
        states.append(torch.get_rng_state())
    seen: Observation = {
        "the shape of the answer": "(N,)",
        "a query is always on the same side": bool((one == other).all()),
        "a second call answers the same": torch.equal(again, mask),
    }
    if not seen["a query is always on the same side"]:
        return seen
    seen["some of the rows, passed alone, stay on their sides"] = isinstance(
        part, Tensor
    ) and torch.equal(part, mask[:7000])
    seen["14+26 and 26+14 are on the same side, and so are all others"] = torch.equal(one, one.T)
    share = one.double().mean().item()
    sides = "about a fifth"
    if not 0.15 < share < 0.25:
        sides = "nearly all" if share > 0.7 else "too many" if share > 0.25 else "too few"
    reset = states[0].equal(states[1])
    seen["the seed of the whole notebook"] = "reset" if reset else "as it was"
    return seen | {"the share held out": _Share(sides, share)} | _seen_in_training(~one)


def _seen_in_training(known: Tensor) -> Observation:
    """What the training side, bool (100, 100) by [a, b], has seen of the operands."""
    numbers = torch.arange(100)
    grid = numbers[:, None].expand(100, 100)
    sums, differences = (grid + grid.T)[known], (grid - grid.T).abs()[known]
    tens, units = numbers // 10, numbers % 10
    low, high = (part[known] for part in (torch.minimum(grid, grid.T), torch.maximum(grid, grid.T)))
    last, first = (len((10 * part[low] + part[high]).unique()) for part in (units, tens))
    return {
        "training has seen every number as an operand": len(grid[known].unique()) == 100,
        "training has seen every sum from 20 to 178": all(
            torch.isin(torch.arange(20, 179), sums).tolist()
        ),
        "training has seen every difference from 0 to 80": all(
            torch.isin(torch.arange(81), differences).tolist()
        ),
        "the pairs of last digits that training has seen, of 100": last > 99,
        "the pairs of first digits that training has seen, of 55": first > 50,
    }


held_out_pairs = Exercise(
    "held_out_pairs",
    _held_out_pairs,
    observe=_look_at_split,
    points=3,
    gradients=False,
    right="No pair of operands is on both sides now, in whatever order and with whatever sign. What"
    " the network answers on the held-out side it has calculated.",
    hints=(
        "What makes 14 and 26 the same as 26 and 14? The smaller and the larger of the two:"
        " torch.minimum(a, b) and torch.maximum(a, b).",
        "Toss a coin for each pair once, in a table: torch.rand(100, 100, generator=g), with"
        " g = torch.Generator().manual_seed(0), so that it is the same table in every call.",
        "Then look the pairs up: table[smaller, larger] has one number for each query. True where"
        " it is below 0.2.",
    ),
)


def as_it_stands(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    return a, b


def first_operand(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    return a, torch.zeros_like(a)


def same_sum(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    return (a + b) // 2, (a + b) % 2


def same_difference(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    return (a - b).abs(), torch.zeros_like(a)


for pair, sentence in (
    (
        as_it_stands,
        "The ordered pair decides, so 14+26 may be held out while 26+14 is trained on. Both have"
        " the same answer: that is the leak. Make the two orders one.",
    ),
    (
        first_operand,
        "The first operand alone decides. Then 14+26 may be held out while 26+14 is trained on.",
    ),
    (
        same_sum,
        "The sum of a and b decides. Nothing leaks, but some answers never occur in training: you"
        " would ask for more than calculating.",
    ),
    (
        same_difference,
        "The difference of a and b decides. Nothing leaks, but some answers never occur in"
        " training: you would ask for more than calculating.",
    ),
):
    held_out_pairs.mistake(sentence, pair=pair)


held_out_pairs.mistake(
    "The table of coins is made anew in each call, so what is held out now is trained on next"
    " time. Give torch.rand a generator with a seed.",
    generator=_fresh,
)


def the_other_side(coins: Tensor) -> Tensor:
    return coins >= 0.2


def one_half(coins: Tensor) -> Tensor:
    return coins < 0.5


def as_numbers(coins: Tensor) -> Tensor:
    return (coins < 0.2).float()


def as_whole_numbers(coins: Tensor) -> Tensor:
    return (coins < 0.2).long()


def as_a_list(coins: Tensor) -> list:
    return (coins < 0.2).tolist()


def as_an_array(coins: Tensor) -> Any:
    return (coins < 0.2).numpy()


def as_places(coins: Tensor) -> Tensor:
    return (coins < 0.2).nonzero()[:, 0]


for decide, sentence in (
    (
        the_other_side,
        "Four fifths are held out: the comparison is the wrong way round. True means held out.",
    ),
    (one_half, "Too many are held out, more than a quarter. It should be about a fifth."),
    (
        as_numbers,
        "The answer holds real numbers. A mask holds True and False; a comparison gives it.",
    ),
    (
        as_whole_numbers,
        "The answer holds whole numbers, and as an index they would mean row 0 and row 1. A mask"
        " holds True and False.",
    ),
    (as_a_list, "You return a Python list. Make it a tensor of True and False, (N,)."),
    (as_an_array, "You return a NumPy array. Stay with tensors: torch.minimum, torch.rand."),
):
    _alone(held_out_pairs, sentence, decide=decide)


def _reset() -> None:
    torch.manual_seed(0)


held_out_pairs.mistake(
    "By torch.manual_seed the random numbers of the whole notebook begin anew. Give torch.rand a"
    " generator of its own: generator=torch.Generator().manual_seed(0).",
    generator=_reset,
)


@held_out_pairs.wrong(
    "The rows that are passed decide: the same pair is on another side if there are fewer of them."
    " Make the table for all pairs of numbers from 0 to 99."
)
def by_pairs_that_are_there(a: Tensor, b: Tensor) -> Tensor:
    low, high = _sorted_pair(a, b)
    groups = (keys := 100 * low + high).unique()
    chosen = groups[torch.randperm(len(groups), generator=_seeded())[: len(groups) // 5]]
    return torch.isin(keys, chosen)


@held_out_pairs.wrong(
    "The same query is now on this side, now on that: each row tosses its own coin, and in each"
    " call a new one. The pair must decide."
)
def a_new_coin_a_row(a: Tensor, b: Tensor) -> Tensor:
    return torch.rand(len(a)) < 0.2


@held_out_pairs.wrong(
    "The row decides, not the pair: a query that is there twice can be on both sides, and so can"
    " 14+26 and 26+14."
)
def a_coin_a_row(a: Tensor, b: Tensor) -> Tensor:
    return torch.rand(len(a), generator=_seeded()) < 0.2


@held_out_pairs.wrong(
    "You return a table with a side for each pair. Look the N queries up in it: the answer has"
    " shape (N,)."
)
def the_table_itself(a: Tensor, b: Tensor) -> Tensor:
    return torch.rand(100, 100, generator=_seeded()) < 0.2


@held_out_pairs.wrong(
    "A remainder of the sum decides. Then whole classes of answers never occur in training, for"
    " example all that end in 0 or 5. Toss a coin for each pair."
)
def remainder_of_the_sum(a: Tensor, b: Tensor) -> Tensor:
    return (a + b) % 5 == 0


@held_out_pairs.wrong(
    "A remainder of the product decides, so multiples of 5 never occur in training. Toss a coin"
    " for each pair."
)
def remainder_of_the_product(a: Tensor, b: Tensor) -> Tensor:
    return (a * b) % 5 == 0


@held_out_pairs.wrong(
    "A remainder decides which pairs are held out. Then some pairs of last digits never occur in"
    " training, and you would measure that. Toss a coin for each pair."
)
def remainder_of_a_key(a: Tensor, b: Tensor) -> Tensor:
    low, high = _sorted_pair(a, b)
    return (100 * low + high) % 5 == 0


@held_out_pairs.wrong(
    "Whole operands are held out, so the network never meets them. That is another question, and"
    " harder. Hold out pairs."
)
def whole_operands(a: Tensor, b: Tensor) -> Tensor:
    coins = torch.rand(100, generator=_seeded()) < 0.1
    return coins[a] | coins[b]


@held_out_pairs.wrong(
    "Python's min and max compare two tensors as a whole. Element by element do torch.minimum and"
    " torch.maximum."
)
def min_of_tensors(a: Tensor, b: Tensor) -> Tensor:
    return _below(torch.rand(100, 100, generator=_seeded()))[min(a, b), max(a, b)]


@held_out_pairs.wrong("Nothing is held out. Is the comparison ever true?")
def never(a: Tensor, b: Tensor) -> Tensor:
    return torch.zeros(len(a), dtype=torch.bool)


@held_out_pairs.wrong(
    "Everything is held out, and nothing is left to train on. Is the comparison ever false?"
)
def always(a: Tensor, b: Tensor) -> Tensor:
    return torch.ones(len(a), dtype=torch.bool)


@held_out_pairs.wrong(
    "The numbers of the rows came back. A mask has True or False for each query, shape (N,)."
)
def row_numbers(a: Tensor, b: Tensor) -> Tensor:
    return _held_out_pairs(a, b).nonzero()[:, 0][:3000]


@held_out_pairs.also_right
def by_hash(a: Tensor, b: Tensor) -> Tensor:
    key = 100 * torch.where(a < b, a, b) + torch.where(a < b, b, a)
    key = (key * 2_654_435_761) % 2**32
    return (key ^ (key >> 15)) * 2_246_822_519 % 2**32 < 0.2 * 2**32


@held_out_pairs.also_right
def by_list_of_pairs(a: Tensor, b: Tensor) -> Tensor:
    pairs = torch.combinations(torch.arange(100), with_replacement=True)
    chosen = pairs[torch.randperm(len(pairs), generator=_seeded())[: len(pairs) // 5]]
    return torch.isin(100 * torch.stack([a, b]).amin(0) + a + b, 100 * chosen[:, 0] + chosen.sum(1))


# ── teacher_forcing(answers, start) → what the decoder reads (N, T) ──


def _teacher_forcing(answers: Tensor, start: int) -> Tensor:
    return F.pad(answers[:, :-1], (1, 0), value=start)


def _answers_probe(n: int, steps: int, start: int) -> Callable:
    return lambda g: (torch.randint(1, 12, (n, steps), generator=g), start)


teacher_forcing = Exercise(
    "teacher_forcing",
    _teacher_forcing,
    probes=[_answers_probe(2, 3, 13), _answers_probe(5, 4, 12), _answers_probe(4, 7, 29)],
    points=2,
    gradients=False,
    right="The decoder reads each symbol after it had to predict it, never before. All steps of"
    " training can be computed at once, for nothing that it reads is its own.",
    hints=(
        "Before it writes symbol t the decoder may know symbols 1 to t − 1: the answer, moved one"
        " place to the right.",
        "The last symbol is never read. What is left is answers[:, :-1], shape (N, T − 1).",
        "Put a column of start before it: torch.full((N, 1), start), and torch.cat along dim 1.",
    ),
)


@teacher_forcing.wrong(
    "The target is seen: the decoder reads symbol t before it writes symbol t. It would copy,"
    " reach a loss of 0, and be helpless when there is nothing to copy."
)
def target_seen(answers: Tensor, start: int) -> Tensor:
    return answers


@teacher_forcing.wrong(
    "The answer moved one place to the left, so the decoder reads symbol t + 1 before it writes"
    " symbol t. Move it to the right."
)
def to_the_left(answers: Tensor, start: int) -> Tensor:
    return F.pad(answers[:, 1:], (0, 1), value=start)


@teacher_forcing.wrong(
    "Moved to the left, and the first symbol wraps round to the end. Move it to the right, with"
    " start in front."
)
def rolled_left(answers: Tensor, start: int) -> Tensor:
    return answers.roll(-1, 1)


@teacher_forcing.wrong(
    "The last symbol wraps round to the front, so the decoder begins with a part of the answer."
    " The first thing that it reads is `start`."
)
def rolled(answers: Tensor, start: int) -> Tensor:
    return answers.roll(1, 1)


@teacher_forcing.wrong(
    "The start symbol is missing: T − 1 symbols are left, and there is nothing to read before the"
    " first is written."
)
def no_start(answers: Tensor, start: int) -> Tensor:
    return answers[:, :-1]


@teacher_forcing.wrong(
    "The first symbol is missing, and the last should be. The decoder reads start, then symbols"
    " 1 to T − 1."
)
def first_dropped(answers: Tensor, start: int) -> Tensor:
    return answers[:, 1:]


@teacher_forcing.wrong(
    "The last symbol is still there, so T + 1 symbols are read and T are written. Nothing follows"
    " the last: leave it out."
)
def one_too_many(answers: Tensor, start: int) -> Tensor:
    return F.pad(answers, (1, 0), value=start)


@teacher_forcing.wrong("The start symbol stands at the end. It is what is read first.")
def start_at_the_end(answers: Tensor, start: int) -> Tensor:
    return F.pad(answers[:, :-1], (0, 1), value=start)


@teacher_forcing.wrong(
    "The start symbol stands at the end of the whole answer. It belongs in front, and the last"
    " symbol goes."
)
def appended(answers: Tensor, start: int) -> Tensor:
    return F.pad(answers, (0, 1), value=start)


@teacher_forcing.wrong(
    "The first symbol was overwritten by start, and the others did not move: the decoder reads"
    " symbol t before it writes symbol t."
)
def overwritten(answers: Tensor, start: int) -> Tensor:
    read = answers.clone()
    read[:, 0] = start
    return read


@teacher_forcing.wrong(
    "The first row became start: you moved along the batch, so a query reads the answer of its"
    " neighbour. The symbols are dim 1."
)
def along_the_batch(answers: Tensor, start: int) -> Tensor:
    return F.pad(answers[:-1], (0, 0, 1, 0), value=start)


@teacher_forcing.wrong(
    "A 0 stands in front, which is the digit 0. Put `start` there: a symbol that no answer has."
)
def zero_in_front(answers: Tensor, start: int) -> Tensor:
    return F.pad(answers[:, :-1], (1, 0))


@teacher_forcing.wrong("You put 13 in front whatever `start` is. Use the argument.")
def thirteen_in_front(answers: Tensor, start: int) -> Tensor:
    return _teacher_forcing(answers, 13)


@teacher_forcing.wrong(
    "Only tensors can be joined, and `start` is a whole number. Make a column of it, (N, 1)."
)
def number_joined(answers: Tensor, start: int) -> Tensor:
    return torch.cat([start, answers[:, :-1]], 1)


@teacher_forcing.wrong(
    "A tensor without dims cannot be joined to a table. Make a column of `start`, (N, 1)."
)
def scalar_joined(answers: Tensor, start: int) -> Tensor:
    return torch.cat([torch.tensor(start), answers[:, :-1]], 1)


@teacher_forcing.wrong(
    "A row (one dim) cannot be joined to a table. Each of the N answers needs a start: a column,"
    " (N, 1)."
)
def row_joined(answers: Tensor, start: int) -> Tensor:
    return torch.cat([torch.tensor([start]), answers[:, :-1]], 1)


@teacher_forcing.wrong(
    "There is one start symbol for N answers. Each of them needs its own: a column, (N, 1)."
)
def one_start(answers: Tensor, start: int) -> Tensor:
    return torch.cat([torch.tensor([[start]]), answers[:, :-1]], 1)


@teacher_forcing.wrong(
    "What the decoder reads are real numbers here. Symbols are whole numbers: give torch.full or"
    " torch.zeros an integer dtype."
)
def as_real_numbers(answers: Tensor, start: int) -> Tensor:
    return _teacher_forcing(answers, start).float()


@teacher_forcing.wrong("You return a Python list. The decoder takes a tensor, (N, T).")
def as_lists(answers: Tensor, start: int) -> list:
    return _teacher_forcing(answers, start).tolist()


@teacher_forcing.wrong(
    "The argument `answers` was changed in place. It is the target as well, so the loss would"
    " compare with the wrong symbols. Make a new tensor."
)
def in_place(answers: Tensor, start: int) -> Tensor:
    answers[:, 1:] = answers[:, :-1].clone()
    answers[:, 0] = start
    return answers


@teacher_forcing.wrong(
    "The first symbol of the argument `answers` was overwritten, and nothing moved. Make a new"
    " tensor: start, and then all symbols but the last."
)
def overwritten_in_place(answers: Tensor, start: int) -> Tensor:
    answers[:, 0] = start
    return answers


@teacher_forcing.wrong(
    "Every symbol is start: the decoder reads nothing of the answer. Only the first is."
)
def start_everywhere(answers: Tensor, start: int) -> Tensor:
    return torch.full_like(answers, start)


@teacher_forcing.wrong(
    "The answers are read backwards. Only the last symbol goes, and the others stay in order."
)
def turned(answers: Tensor, start: int) -> Tensor:
    return _teacher_forcing(answers.flip(1), start)


@teacher_forcing.also_right
def by_cat(answers: Tensor, start: int) -> Tensor:
    return torch.cat([torch.full_like(answers[:, :1], start), answers[:, :-1]], 1)


@teacher_forcing.also_right
def by_roll(answers: Tensor, start: int) -> Tensor:
    read = answers.roll(1, dims=1)
    read[:, 0] = start
    return read


# ── attention(q, k, v, mask) → context (N, T, V), weights (N, T, L) ──


def _root(q: Tensor, k: Tensor) -> float:
    return math.sqrt(q.shape[-1])


def _over_places(scores: Tensor) -> Tensor:
    return scores.softmax(-1)


def _blocked(scores: Tensor, mask: Tensor) -> Tensor:
    return scores.masked_fill(~mask[:, None], -math.inf)


def _as_it_is(weights: Tensor, mask: Tensor) -> Tensor:
    return weights


def _sum_of_values(weights: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return weights @ v


def _pair(context: Any, weights: Any) -> Any:
    return context, weights


def _attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor,
    *,
    scale=_root,
    before=_blocked,
    normalise=_over_places,
    after=_as_it_is,
    look_up=_sum_of_values,
    give=_pair,
) -> tuple[Tensor, Tensor]:
    scores = q @ k.transpose(1, 2) / scale(q, k)
    weights = after(normalise(before(scores, mask)), mask)
    return give(look_up(weights, k, v), weights)


def _attention_probe(n: int, steps: int, places: int, d: int, v: int, size: float) -> Callable:
    def probe(g: torch.Generator) -> tuple:
        q = size * torch.randn(n, steps, d, generator=g)
        k, values = (torch.randn(n, places, width, generator=g) for width in (d, v))
        mask = torch.arange(places) >= 1 + torch.arange(n)[:, None] % 2
        return q, k, values, mask

    return probe


attention = Exercise(
    "attention",
    _attention,
    probes=[
        _attention_probe(1, 2, 3, 2, 4, 2.0),
        _attention_probe(3, 5, 7, 11, 6, 1.5),
        _attention_probe(2, 3, 5, 7, 4, 300.0),
    ],
    points=4,
    tell=("context", "weights"),
    right="Your function is the only way by which the decoder sees the query again. Notice that no"
    " weight of it is learned: it compares and averages.",
    hints=(
        "First the scores, (N, T, L): q @ k.transpose(1, 2), divided by the square root of D.",
        "Then the mask: scores.masked_fill(~mask[:, None], -torch.inf). The None makes (N, L) into"
        " (N, 1, L), for all T rows.",
        "Softmax over the last dim gives the weights, whose rows sum to 1; weights @ v is the"
        " context. Return context, weights.",
    ),
)


def no_scale(q: Tensor, k: Tensor) -> float:
    return 1.0


def by_d(q: Tensor, k: Tensor) -> float:
    return float(q.shape[-1])


def by_places(q: Tensor, k: Tensor) -> float:
    return math.sqrt(k.shape[1])


def by_steps(q: Tensor, k: Tensor) -> float:
    return math.sqrt(q.shape[1])


def by_batch(q: Tensor, k: Tensor) -> float:
    return math.sqrt(len(q))


def times_root(q: Tensor, k: Tensor) -> float:
    return 1 / math.sqrt(q.shape[-1])


for scale, sentence in (
    (
        no_scale,
        "The scores are not divided by √D. A sum of D products grows with D, and the softmax of"
        " large scores is a hard choice with hardly any gradient.",
    ),
    (by_d, "The scores are divided by D. It is the square root of D."),
    (by_places, "The scores are divided by √L. The sum runs over the D numbers of q and k: √D."),
    (by_steps, "The scores are divided by √T. The sum runs over the D numbers of q and k: √D."),
    (by_batch, "The scores are divided by √N. The sum runs over the D numbers of q and k: √D."),
    (times_root, "The scores are multiplied by √D instead of divided."),
):
    attention.mistake(sentence, scale=scale)


def not_blocked(scores: Tensor, mask: Tensor) -> Tensor:
    return scores


def blocked_the_rest(scores: Tensor, mask: Tensor) -> Tensor:
    return scores.masked_fill(mask[:, None], -math.inf)


def times_mask(scores: Tensor, mask: Tensor) -> Tensor:
    return scores * mask[:, None]


def added(scores: Tensor, mask: Tensor) -> Tensor:
    return scores + mask[:, None]


def minus_1(scores: Tensor, mask: Tensor) -> Tensor:
    return scores.masked_fill(~mask[:, None], -1.0)


def minus_10(scores: Tensor, mask: Tensor) -> Tensor:
    return scores.masked_fill(~mask[:, None], -10.0)


def plus_infinity(scores: Tensor, mask: Tensor) -> Tensor:
    return scores.masked_fill(~mask[:, None], 1e9)


for before, sentence in (
    (
        not_blocked,
        "The mask is not used: padding is attended. Give the scores of blanks −∞ before the"
        " softmax. (masked_fill returns a new tensor.)",
    ),
    (
        blocked_the_rest,
        "The mask is turned round: only the padding is attended. It is True where there is a"
        " symbol.",
    ),
    (
        times_mask,
        "The scores of blanks become 0, and the softmax turns 0 into a weight like any other. It"
        " takes −∞ to make the weight 0.",
    ),
    (
        added,
        "The mask is added to the scores as 0 and 1, so a blank keeps a weight like any other. It"
        " takes −∞ to make the weight 0.",
    ),
    (
        minus_1,
        "The scores of blanks become −1, which may well be more than others have. It takes −∞ to"
        " make the weight 0.",
    ),
    (
        minus_10,
        "The scores of blanks become −10. Other scores may be lower still: use −∞, and the weight"
        " is 0.",
    ),
    (
        plus_infinity,
        "The scores of blanks became very large, so only padding is attended. The sign: −∞.",
    ),
):
    attention.mistake(sentence, before=before)


def over_steps(scores: Tensor) -> Tensor:
    return scores.softmax(1)


def over_batch(scores: Tensor) -> Tensor:
    return scores.softmax(0)


def over_all(scores: Tensor) -> Tensor:
    return scores.flatten(1).softmax(1).view_as(scores)


def none(scores: Tensor) -> Tensor:
    return scores


def sigmoid(scores: Tensor) -> Tensor:
    return scores.sigmoid()


def log_softmax(scores: Tensor) -> Tensor:
    return scores.log_softmax(-1)


def by_hand(scores: Tensor) -> Tensor:
    return scores.exp() / scores.exp().sum(-1, keepdim=True)


def twice(scores: Tensor) -> Tensor:
    return scores.softmax(-1).softmax(-1)


def hard(scores: Tensor) -> Tensor:
    return F.one_hot(scores.argmax(-1), scores.shape[-1]).to(scores.dtype)


for normalise, sentence in (
    (
        over_steps,
        "The softmax runs over the T written symbols (dim 1). The weights of one written symbol"
        " over the L places sum to 1: the last dim.",
    ),
    (over_batch, "The softmax runs over the batch (dim 0), so queries compete. It is the last."),
    (over_all, "The softmax runs over all T × L scores at once. Each row (T) has its own."),
    (none, "The softmax is missing: these are scores, not weights that sum to 1."),
    (sigmoid, "A sigmoid stands in the place of the softmax: the weights do not sum to 1."),
    (log_softmax, "These are logarithms of weights (log_softmax). Use softmax."),
    (
        by_hand,
        "The exponential of a large score overflows, and ∞ / ∞ is no number. The method"
        " .softmax(-1) subtracts the largest score first.",
    ),
    (twice, "The softmax is applied twice, so that all weights are nearly equal."),
    (hard, "Only the best place is looked at (argmax), and no gradient reaches q and k."),
):
    add = attention.mistake if normalise is over_steps else functools.partial(_alone, attention)
    add(sentence, normalise=normalise)


def masked_afterwards(weights: Tensor, mask: Tensor) -> Tensor:
    return weights * mask[:, None]


def detached(weights: Tensor, mask: Tensor) -> Tensor:
    return weights.detach()


_alone(
    attention,
    "The weights are detached: the values are right, but q and k get no gradient and never learn"
    " where to look.",
    after=detached,
)


def as_it_came(scores: Tensor, mask: Tensor) -> Tensor:
    return scores.masked_fill(~mask, -math.inf)


def dim_at_the_end(scores: Tensor, mask: Tensor) -> Tensor:
    return scores.masked_fill(~mask[..., None], -math.inf)


def as_an_index(scores: Tensor, mask: Tensor) -> Tensor:
    scores[~mask] = -math.inf
    return scores


for before, sentence in (
    (
        as_it_came,
        "The mask is (N, L), the scores are (N, T, L). Give the mask a dim for T: mask[:, None].",
    ),
    (
        dim_at_the_end,
        "The mask became (N, L, 1), and the scores are (N, T, L). The new dim stands for T, so it"
        " is in the middle: mask[:, None].",
    ),
    (
        as_an_index,
        "As an index the mask, (N, L), does not fit the scores, (N, T, L). With a dim for T,"
        " mask[:, None], it fits masked_fill.",
    ),
):
    _alone(attention, sentence, before=before)


@attention.wrong(
    "Both q and k have D last, so q @ k does not fit. Exchange the last two dims of k:"
    " k.transpose(1, 2)."
)
def not_transposed(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Any:
    return q @ k


@attention.wrong(
    "With three dims k.T exchanges the batch as well. Exchange the last two: k.transpose(1, 2)."
)
def all_dims_turned(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Any:
    return q @ k.permute(2, 1, 0)


@attention.wrong("A batch of keys has three dims, and .t() takes two at most: k.transpose(1, 2).")
def t_of_three_dims(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Any:
    return q @ k.t()


@attention.wrong(
    "The scores are divided by √E, E the size of a value. The sum runs over the D numbers of q and"
    " k: √D."
)
def by_size_of_value(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> tuple:
    return _attention(q, k, v, mask, scale=lambda q, k: math.sqrt(v.shape[-1]))


@attention.wrong(
    "The softmax is missing, and blanks have the weight 0 by the mask alone. Weights are positive"
    " and sum to 1: −∞ for blanks, then softmax."
)
def only_masked(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> tuple:
    return _attention(q, k, v, mask, before=times_mask, normalise=none)


@attention.wrong("There is neither softmax nor mask: these are scores, not weights that sum to 1.")
def only_scores(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> tuple:
    return _attention(q, k, v, mask, before=not_blocked, normalise=none)


@attention.wrong(
    "The mask comes after the softmax: blanks have weight 0, but the others no longer sum to 1."
    " Mask the scores before it."
)
def masked_too_late(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> tuple:
    return _attention(q, k, v, mask, before=not_blocked, after=masked_afterwards)


@attention.wrong(
    "The weights of blanks are made 0 after the softmax, and the rest is divided by its sum. Where"
    " a blank has by far the largest score, that is 0 / 0. Mask the scores before the softmax."
)
def renormalised(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> tuple:
    weights = _attention(q, k, v, mask, before=not_blocked)[1] * mask[:, None]
    weights = weights / weights.sum(-1, keepdim=True)
    return weights @ v, weights


@attention.wrong(
    "The weights are divided by √D, after the softmax. It is the scores that are divided, before."
)
def scaled_too_late(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> tuple:
    weights = _attention(q, k, v, mask, scale=no_scale)[1] / math.sqrt(q.shape[-1])
    return weights @ v, weights


def sum_of_keys(weights: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return weights @ k


def mean_of_values(weights: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return weights @ v / v.shape[1]


_alone(
    attention,
    "The keys are averaged. Keys say where to look; what is looked up are the values v.",
    look_up=sum_of_keys,
)
_alone(
    attention, "The sum is divided by L, but the weights sum to 1 already.", look_up=mean_of_values
)


def weights_first(context: Any, weights: Any) -> Any:
    return weights, context


def context_alone(context: Any, weights: Any) -> Any:
    return context


def weights_alone(context: Any, weights: Any) -> Any:
    return weights


for give, sentence in (
    (weights_first, "The two are returned in the wrong order: context first, then the weights."),
    (context_alone, "Only the context is returned. Return the weights, too: we will look at them."),
    (weights_alone, "Only the weights are returned. Return context, weights."),
):
    _alone(attention, sentence, give=give)


@attention.also_right
def by_einsum(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    scores = torch.einsum("ntd,nld->ntl", q, k) * k.shape[2] ** -0.5
    scores = torch.where(mask.unsqueeze(1), scores, torch.tensor(float("-inf")))
    scores = (scores - scores.amax(2, keepdim=True)).exp()
    weights = scores / scores.sum(2, keepdim=True)
    return torch.einsum("ntl,nlv->ntv", weights, v), weights


@attention.also_right
def by_a_large_number(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    scores = torch.bmm(q, k.mT) / torch.tensor(q.size(-1)).sqrt()
    weights = F.softmax(scores.masked_fill(mask[:, None, :] == 0, -1e9), dim=2)
    return torch.bmm(weights, v), weights


# ── greedy(decode, state, first, steps) → symbols (N, steps) ──


class _Decode:
    """A decoder with random weights: symbols (N, T) and a state → logits (N, T, K), new state."""

    def __init__(self, symbols: int, hidden: int, g: torch.Generator):
        self.embedding = 2 * torch.randn(symbols + 1, hidden, generator=g)
        self.recurrent = 2 * torch.randn(hidden, hidden, generator=g) / math.sqrt(hidden)
        self.output = torch.randn(hidden, symbols, generator=g)

    def __repr__(self) -> str:
        return "a decoder"

    def __call__(self, before: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        if not isinstance(before, Tensor) or before.ndim != 2 or before.is_floating_point():
            kind = type(before).__name__
            if isinstance(before, Tensor):
                kind = f"a {before.dtype} tensor of shape {tuple(before.shape)}"
            raise TypeError(f"decode takes symbols, whole numbers of shape (N, 1), and got {kind}")
        if not isinstance(state, Tensor):
            raise TypeError(f"decode takes the state that it returned, and got {state!r:.40}")
        logits = []
        for column in before.unbind(1):
            state = torch.tanh(self.embedding[column] + state @ self.recurrent)
            logits.append(state @ self.output)
        return torch.stack(logits, 1), state


def _greedy_probe(n: int, symbols: int, hidden: int, steps: int) -> Callable:
    def probe(g: torch.Generator) -> tuple:
        decode = _Decode(symbols, hidden, g)
        state = torch.randn(n, hidden, generator=g)
        return decode, state, torch.full((n, 1), symbols), steps

    return probe


def _best(logits: Tensor) -> Tensor:
    return logits.argmax(-1)


def _chosen(chosen: Tensor, first: Tensor) -> Tensor:
    return chosen


def _new(state: Any, old: Any) -> Any:
    return state


def _side_by_side(parts: list[Tensor], first: Tensor) -> Tensor:
    return torch.cat(parts, 1)


def _greedy(
    decode: Callable,
    state: Any,
    first: Tensor,
    steps: int,
    *,
    choose=_best,
    feed=_chosen,
    keep=_new,
    give=_side_by_side,
    more=0,
) -> Tensor:
    before, parts, old = first, [], state
    for _ in range(steps + more):
        logits, state = decode(before, state)
        state = keep(state, old)
        chosen = choose(logits)
        before = feed(chosen, first)
        parts.append(chosen)
    return give(parts, first)


greedy = Exercise(
    "greedy",
    _greedy,
    probes=[_greedy_probe(2, 5, 6, 3), _greedy_probe(3, 13, 8, 5), _greedy_probe(7, 11, 6, 4)],
    points=3,
    gradients=False,
    right="This is how the network is asked: no true symbol is in reach, and a wrong one is read"
    " like any other. Notice that it needs a loop, where training needed none.",
    hints=(
        "A loop of `steps` rounds. In each, decode(before, state) is called with one column of"
        " symbols, (N, 1), and returns logits (N, 1, K) and the next state.",
        "The likeliest symbol is logits.argmax(-1), shape (N, 1). It is what decode reads in the"
        " next round; in the first round that is `first`.",
        "Collect the columns in a list, and join them by torch.cat(columns, dim=1).",
    ),
)


def fed_start(chosen: Tensor, first: Tensor) -> Tensor:
    return first


greedy.mistake(
    "The decoder reads the start symbol at every step. It must read the symbol that it has just"
    " written.",
    feed=fed_start,
)


def old_state(state: Any, old: Any) -> Any:
    return old


greedy.mistake(
    "Each step begins with the first state, so the decoder forgets what it has written. Pass on"
    " the state that decode returns.",
    keep=old_state,
)


def least(logits: Tensor) -> Tensor:
    return logits.argmin(-1)


def drawn(logits: Tensor) -> Tensor:
    return torch.distributions.Categorical(logits=logits).sample()


def over_time(logits: Tensor) -> Tensor:
    return logits.argmax(1)


def one_for_all(logits: Tensor) -> Tensor:
    return logits.sum(0, keepdim=True).argmax(-1).expand(len(logits), 1)


def second_best(logits: Tensor) -> Tensor:
    return logits.topk(2, dim=-1).indices[..., 1]


for choose, sentence in (
    (least, "The least likely symbol is chosen: argmin. It is argmax."),
    (
        drawn,
        "The symbol is drawn at random. Greedy decoding takes the likeliest, so that an answer is"
        " the same each time.",
    ),
    (
        over_time,
        "The argmax runs over dim 1, which is time, and there is only one step of it. The symbols"
        " are the last dim.",
    ),
    (
        one_for_all,
        "All queries are given the same symbol. Each row of logits has a choice of its own.",
    ),
    (second_best, "The second best symbol is chosen. The likeliest is argmax."),
):
    greedy.mistake(sentence, choose=choose)


def with_start(parts: list[Tensor], first: Tensor) -> Tensor:
    return torch.cat([first, *parts], 1)


def start_for_last(parts: list[Tensor], first: Tensor) -> Tensor:
    return torch.cat([first, *parts[:-1]], 1)


def stacked(parts: list[Tensor], first: Tensor) -> Tensor:
    return torch.stack(parts, 1)


def below_each_other(parts: list[Tensor], first: Tensor) -> Tensor:
    return torch.cat(parts, 0)


def time_first(parts: list[Tensor], first: Tensor) -> Tensor:
    return torch.stack(parts)[..., 0]


def stacked_time_first(parts: list[Tensor], first: Tensor) -> Tensor:
    return torch.stack(parts)


def in_a_list(parts: list[Tensor], first: Tensor) -> list:
    return parts


def only_the_last(parts: list[Tensor], first: Tensor) -> Tensor:
    return parts[-1]


def turned_back(parts: list[Tensor], first: Tensor) -> Tensor:
    return torch.cat(parts[::-1], 1)


def as_real_symbols(parts: list[Tensor], first: Tensor) -> Tensor:
    return torch.cat(parts, 1).float()


for give, sentence in (
    (
        with_start,
        "The start symbol is part of the answer that you return. Only what was written is.",
    ),
    (
        start_for_last,
        "You return what was read: it begins with start, and the last symbol is missing. Return"
        " what was written.",
    ),
    (
        stacked,
        "The shape is (N, steps, 1). Join the columns with torch.cat along dim 1, or drop the last"
        " dim.",
    ),
    (
        below_each_other,
        "The columns were joined one below the other, (steps · N, 1). Join them side by side: dim"
        " 1.",
    ),
    (time_first, "The shape is (steps, N). A row is an answer: (N, steps)."),
    (stacked_time_first, "The shape is (steps, N, 1). A row is an answer: (N, steps)."),
    (in_a_list, "You return a list of columns. Join them by torch.cat(columns, dim=1)."),
    (only_the_last, "Only the last symbol is returned. Collect all of them."),
    (turned_back, "The answer stands backwards: the symbol written first comes first."),
    (as_real_symbols, "The symbols are real numbers. They are places in a list: int64."),
):
    _alone(greedy, sentence, give=give)

_alone(greedy, "One symbol too many is written. The loop has `steps` rounds.", more=1)
_alone(greedy, "One symbol too few is written. The loop has `steps` rounds.", more=-1)


@greedy.wrong(
    "The decoder reads all symbols so far again in each step, although the state has read them"
    " already. With the new state goes the last symbol alone, (N, 1)."
)
def read_again(decode: Callable, state: Any, first: Tensor, steps: int) -> Tensor:
    before = first
    for _ in range(steps):
        logits, state = decode(before, state)
        before = torch.cat([before, logits[:, -1:].argmax(-1)], 1)
    return before[:, 1:]


@greedy.wrong(
    "The decoder reads all symbols so far in each step, so it returns logits for all of them, and"
    " the answer grows too long. Give it the last symbol alone, (N, 1)."
)
def growing(decode: Callable, state: Any, first: Tensor, steps: int) -> Tensor:
    before = first
    for _ in range(steps):
        logits, state = decode(before, state)
        before = torch.cat([before, logits.argmax(-1)], 1)
    return before[:, 1:]


@greedy.wrong(
    "After the softmax the argmax runs over dim 1, which is time. The symbols are the last dim;"
    " and the softmax does not change which is the largest."
)
def softmax_over_time(decode: Callable, state: Any, first: Tensor, steps: int) -> Tensor:
    before, parts = first, []
    for _ in range(steps):
        logits, state = decode(before, state)
        before = logits.softmax(-1).argmax(1)
        parts.append(before)
    return torch.cat(parts, 1)


@greedy.wrong("You return the state as well. Return the symbols alone.")
def state_as_well(decode: Callable, state: Any, first: Tensor, steps: int) -> tuple:
    before, parts = first, []
    for _ in range(steps):
        logits, state = decode(before, state)
        parts.append(before := logits.argmax(-1))
    return torch.cat(parts, 1), state


@greedy.wrong("You always write four symbols. The argument `steps` says how many: use it.")
def four_steps(decode: Callable, state: Any, first: Tensor, steps: int) -> Tensor:
    return _greedy(decode, state, first, 4)


@greedy.wrong("You return logits, (N, steps, K). The answer is the likeliest symbol at each step.")
def logits_returned(decode: Callable, state: Any, first: Tensor, steps: int) -> Tensor:
    before, parts = first, []
    for _ in range(steps):
        logits, state = decode(before, state)
        before = logits.argmax(-1)
        parts.append(logits)
    return torch.cat(parts, 1)


@greedy.also_right
def from_the_beginning(decode: Callable, state: Any, first: Tensor, steps: int) -> Tensor:
    before = first
    for _ in range(steps):
        logits, _ = decode(before, state)
        before = torch.cat([before, logits[:, -1:].topk(1).indices[..., 0]], 1)
    return before[:, 1:]


@greedy.also_right
def into_a_table(decode: Callable, state: Any, first: Tensor, steps: int) -> Tensor:
    written, symbol = first.new_zeros(len(first), steps), first[:, 0]
    for t in range(steps):
        logits, state = decode(symbol[:, None], state)
        written[:, t] = symbol = logits[:, 0].softmax(1).max(1).indices
    return written


# ── exact_match(predicted, answers) → share in [0, 1] ──


def _compare(predicted: Tensor, answers: Tensor) -> Tensor:
    return predicted == answers


def _all(right: Tensor) -> Tensor:
    return right.all(1)


def _share(right: Tensor) -> Any:
    return right.double().mean().item()


def _exact_match(
    predicted: Tensor, answers: Tensor, *, compare=_compare, join=_all, average=_share
) -> float:
    return average(join(compare(predicted, answers)))


def _look_at_matches(f: Function) -> Observation:
    """The share for some pairs of tables; a tensor of one number is as good as a number."""
    g = torch.Generator().manual_seed(4)
    small = torch.tensor([[12, 4, 0], [12, 12, 7], [11, 3, 5], [1, 2, 8]])
    said = torch.tensor([[12, 4, 0], [12, 2, 7], [11, 5, 3], [1, 2, 8]])
    large = torch.randint(13, (101, 5), generator=g)
    noise = torch.where(torch.rand(101, 5, generator=g) < 0.2, (large + 1) % 13, large)
    noise[:10, 0], noise[10:13] = (large[:10, 0] + 5) % 13, large[10:13].flip(1)
    blank = large.clone()
    blank[:60, :2] = BLANK
    no_blank = torch.where((blank == BLANK) & (torch.arange(5) == 1), 3, blank)
    seen: Observation = {}
    for name, p, y in (
        ("the share for 4 answers, 2 of them right,", said, small),
        ("the share for 101 answers", noise, large),
        ("the share where 60 of 101 have a digit for a blank", no_blank, blank),
        ("the share if all are right", large, large),
        ("the share if all are wrong", (large + 1) % 13, large),
    ):
        value = f(p.clone(), y.clone())
        if isinstance(value, Tensor):
            if value.numel() != 1:
                return {"the result": f"a tensor of shape {tuple(value.shape)}"}
            value = value.item()
        if hasattr(value, "dtype") and getattr(value, "shape", None) == ():
            value = value.item()
        if isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        seen[name] = value
    return seen


exact_match = Exercise(
    "exact_match",
    _exact_match,
    observe=_look_at_matches,
    points=2,
    right="An answer counts if every symbol is right. All scores below are yours.",
    hints=(
        "The comparison predicted == answers says which symbols are right, (N, T).",
        "An answer is right if all of its symbols are: .all(dim=1), (N,).",
        "The share of True: .float().mean().item().",
    ),
)


def any_symbol(right: Tensor) -> Tensor:
    return right.any(1)


def every_symbol(right: Tensor) -> Tensor:
    return right


def per_place(right: Tensor) -> Tensor:
    return right.all(0)


def whole_batch(right: Tensor) -> Tensor:
    return right.all()


def last_symbol(right: Tensor) -> Tensor:
    return right[:, -1]


def first_symbol(right: Tensor) -> Tensor:
    return right[:, 0]


def most_symbols(right: Tensor) -> Tensor:
    return right.double().mean(1) > 0.5


for join, sentence in (
    (
        every_symbol,
        "This is the share of right symbols. An answer with one wrong digit is wrong, but here"
        " it counts for the rest of them.",
    ),
    (any_symbol, "One right symbol is enough here (any). All have to be right."),
    (
        per_place,
        "The dims are mixed up: this asks whether a place is right in all answers. It is .all over"
        " the symbols of an answer, dim 1.",
    ),
    (
        whole_batch,
        "This says whether all N answers are right at once. The share of answers is wanted.",
    ),
    (last_symbol, "Only the last symbol is compared. All have to be right."),
    (first_symbol, "Only the first symbol is compared. All have to be right."),
    (most_symbols, "More than half of the symbols are enough here. All have to be right."),
):
    exact_match.mistake(sentence, join=join)


def blanks_ignored(predicted: Tensor, answers: Tensor) -> Tensor:
    return (predicted == answers) | (answers == BLANK)


def in_any_order(predicted: Tensor, answers: Tensor) -> Tensor:
    return predicted.sort(1).values == answers.sort(1).values


def unequal(predicted: Tensor, answers: Tensor) -> Tensor:
    return predicted != answers


for compare, sentence in (
    (
        blanks_ignored,
        "Places where the answer has a blank are not looked at, so 140 would count for 40.",
    ),
    (in_any_order, "The symbols are compared in any order, so 53 would count for 35."),
    (unequal, "The comparison is turned round: != is true where a symbol is wrong."),
):
    exact_match.mistake(sentence, compare=compare)


def number(right: Tensor) -> Any:
    return right.sum().item()


def share_of_wrong(right: Tensor) -> float:
    return 1 - _share(right)


def percent(right: Tensor) -> float:
    return 100 * _share(right)


def one_each(right: Tensor) -> Tensor:
    return right


for average, sentence in (
    (number, "This counts right answers. Divide by their number: a share, from 0 to 1."),
    (share_of_wrong, "This is the share of wrong answers. Exact match is the share of right ones."),
    (percent, "These are percent. A share lies between 0 and 1."),
    (one_each, "There is a True or False for each answer. Take their mean: one number."),
):
    exact_match.mistake(sentence, average=average)


@exact_match.wrong(
    "You compare the two tables as a whole, which says True or False. The share of answers that"
    " are right is wanted."
)
def by_torch_equal(predicted: Tensor, answers: Tensor) -> bool:
    return torch.equal(predicted, answers)


@exact_match.also_right
def by_rows(predicted: Tensor, answers: Tensor) -> float:
    pairs = zip(predicted.tolist(), answers.tolist(), strict=True)
    return sum(said == right for said, right in pairs) / len(answers)


@exact_match.also_right
def by_product(predicted: Tensor, answers: Tensor) -> Tensor:
    return (predicted == answers).float().prod(1).mean()
