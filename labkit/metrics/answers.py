"""How right are answers? Exact match, per-character accuracy, where the mistakes are, and the
ceiling that reading sets.

Answers and predictions are tokens, int64 (N, L), as labkit.data.arithmetic writes them.
"""

import pandas as pd
import torch
from torch import Tensor

from labkit.data.arithmetic import SYMBOLS, Queries, decode


def exact_match(predicted: Tensor, answers: Tensor) -> float:
    """Share of answers with every character right, in [0, 1]."""
    return _right(predicted, answers).all(1).double().mean().item()


def per_character(predicted: Tensor, answers: Tensor) -> float:
    """Share of characters that are right, blanks included, in [0, 1]. Never below the exact match,
    and mostly far above it.
    """
    return _right(predicted, answers).double().mean().item()


def by_position(predicted: Tensor, answers: Tensor) -> Tensor:
    """Share of right characters at each position of the answer, float64 (L,)."""
    return _right(predicted, answers).double().mean(0)


def _right(predicted: Tensor, answers: Tensor) -> Tensor:
    if predicted.shape != answers.shape:
        raise ValueError(
            f"predictions and answers must have one shape (N, L), got {tuple(predicted.shape)} and {tuple(answers.shape)}"
        )
    if len(answers) == 0:
        raise ValueError("there are no answers to score")
    return predicted == answers


def confusion(predicted: Tensor, answers: Tensor) -> Tensor:
    """How often symbol t (row) was answered as p (column) at each position; int64 (L, 13, 13)."""
    _right(predicted, answers)
    n = len(SYMBOLS)
    place = torch.arange(answers.shape[1]) * n * n
    return (
        (place + answers * n + predicted)
        .flatten()
        .bincount(minlength=n * n * answers.shape[1])
        .reshape(-1, n, n)
    )


def kinds(queries: Queries) -> dict[str, Tensor]:
    """What makes a query hard, each as labels 0, 1, … (N,): sign of the result, carries or borrows,
    digits of the result.

    A carry goes out of a column whose digits sum to 10 or more, one that came in counted. A borrow
    is the same of the smaller operand taken from the larger, which is how a negative result is
    found on paper.
    """
    result = queries.result
    length = (result.abs()[:, None] >= 10 ** torch.arange(1, queries.digits + 1)).sum(1) + 1
    moved = carries(queries)
    return {
        "operator": (queries.sign < 0).long(),
        "result": (result < 0).long(),
        "carries": torch.where(queries.sign > 0, moved, -1),
        "borrows": torch.where(queries.sign < 0, moved, -1),
        "digits": length,
    }


def carries(queries: Queries) -> Tensor:
    """Number of columns out of which something is carried (a + b) or borrowed (a − b), int64
    (N,).
    """
    large, small = torch.maximum(queries.a, queries.b), torch.minimum(queries.a, queries.b)
    count, moved = torch.zeros_like(large), torch.zeros_like(large)
    for _ in range(queries.digits):
        column = large % 10 + queries.sign * (small % 10 + moved)
        moved = ((column >= 10) | (column < 0)).long()
        count, large, small = count + moved, large // 10, small // 10
    return count


NAMES = {"operator": {0: "a + b", 1: "a − b"}, "result": {0: "0 or more", 1: "negative"}}


def breakdown(queries: Queries, predicted: Tensor) -> pd.DataFrame:
    """Exact match and per-character accuracy for every kind of query; index (kind, value), columns
    n, exact, characters.
    """
    answers, rows = queries.answers(), []
    right = _right(predicted, answers).double()
    for kind, labels in kinds(queries).items():
        for value in labels.unique().tolist():
            if value < 0:  # a sum has no borrows, a difference no carries
                continue
            chosen = right[labels == value]
            name = NAMES.get(kind, {}).get(value, str(value))
            rows.append(
                (
                    kind,
                    name,
                    len(chosen),
                    chosen.all(1).double().mean().item(),
                    chosen.mean().item(),
                )
            )
    return pd.DataFrame(rows, columns=["kind", "value", "n", "exact", "characters"]).set_index(
        ["kind", "value"]
    )


def mistakes(queries: Queries, predicted: Tensor, n: int = 5) -> list[tuple[str, str, str]]:
    """The first `n` wrong answers as (query, predicted, answer)."""
    answers = queries.answers()
    wrong = (~_right(predicted, answers).all(1)).nonzero()[:n, 0]
    return list(
        zip(
            *(decode(tokens[wrong]) for tokens in (queries.tokens(), predicted, answers)),
            strict=True,
        )
    )


def ceiling(accuracy: dict[str, float] | Tensor, tokens: Tensor) -> float:
    """Share of sequences (N, L) whose every character is read right, if each symbol is read right
    by itself with its `accuracy`.

    For one accuracy p and k characters that is p^k. accuracy: of each of SYMBOLS, as a dict or a
    tensor (13,).
    """
    p = (
        torch.tensor([accuracy[symbol] for symbol in SYMBOLS])
        if isinstance(accuracy, dict)
        else accuracy
    )
    return p.double()[tokens].prod(1).mean().item()


def wilson(right: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of `right` in `n` (Wilson 1927), which does not shrink to
    nothing at 0 or n.
    """
    if not 0 <= right <= n or n < 1:
        raise ValueError(f"a share needs 0 ≤ right ≤ n and n ≥ 1, got {right} of {n}")
    p, z2 = right / n, z * z
    middle, half = p + z2 / (2 * n), z * (p * (1 - p) / n + z2 / (4 * n * n)) ** 0.5
    return max(0.0, (middle - half) / (1 + z2 / n)), min(1.0, (middle + half) / (1 + z2 / n))
