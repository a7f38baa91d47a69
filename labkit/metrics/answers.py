"""How many answers of a sequence model, tokens int64 (N, L), are right, and where are mistakes?"""

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from labkit.data.arithmetic import SYMBOLS, Queries, decode


def exact_match(predicted: Tensor, answers: Tensor) -> float:
    """Share of answers with every character right, in [0, 1]."""
    return _right(predicted, answers).all(1).double().mean().item()


def per_character(predicted: Tensor, answers: Tensor) -> float:
    """Share of characters that are right, blanks included, in [0, 1]."""
    return _right(predicted, answers).double().mean().item()


def by_position(predicted: Tensor, answers: Tensor) -> Tensor:
    """Share of right characters at each position of the answer, float64 (L,)."""
    return _right(predicted, answers).double().mean(0)


def _right(predicted: Tensor, answers: Tensor) -> Tensor:
    """Which characters are right, bool (N, L)."""
    if predicted.ndim != 2 or predicted.shape != answers.shape:
        shapes = f"{tuple(predicted.shape)} and {tuple(answers.shape)}"
        raise ValueError(f"predictions and answers must have one shape (N, L), got {shapes}")
    if len(answers) == 0:
        raise ValueError("there are no answers to score")
    return predicted == answers


def confusion_by_position(predicted: Tensor, answers: Tensor) -> Tensor:
    """Counts of symbol t (row) answered as p (column) at each position, int64 (L, 13, 13)."""
    _right(predicted, answers)
    both, symbols = torch.stack([answers, predicted]), len(SYMBOLS)
    if both.min() < 0 or both.max() >= symbols:
        raise ValueError(f"some tokens are not places in SYMBOLS, 0 to {symbols - 1}")
    return torch.einsum("nlt,nlp->ltp", *F.one_hot(both, symbols))


def carries(queries: Queries) -> Tensor:
    """Number of carries in a + b, or of borrows in a − b, int64 (N,), the larger operand above.

    A column carries if its digits and the carry into it sum to 10 or more.
    """
    large, small = torch.maximum(queries.a, queries.b), torch.minimum(queries.a, queries.b)
    count, carry = torch.zeros_like(large), torch.zeros_like(large)
    for _ in range(queries.digits):
        column = large % 10 + queries.sign * (small % 10 + carry)
        carry = ((column >= 10) | (column < 0)).long()
        count, large, small = count + carry, large // 10, small // 10
    return count


def breakdown(queries: Queries, predicted: Tensor) -> pd.DataFrame:
    """Exact match and per-character accuracy for each kind of query.

    Index (kind, value): operator, sign of the result, carries of sums, borrows of differences,
    digits of the result. Columns n, exact, characters.
    """
    result, is_sum = pd.Series(queries.result.numpy()), queries.sign.numpy() > 0
    carried = pd.Series(carries(queries).numpy()).astype(str)
    kinds = {
        "operator": np.where(is_sum, "a + b", "a − b"),
        "result": np.where(result < 0, "negative", "0 or more"),
        "carries": carried.where(is_sum),  # groupby leaves out the others
        "borrows": carried.where(~is_sum),
        "digits": result.abs().astype(str).str.len().astype(str),
    }
    right = _right(predicted, queries.answers()).double()
    scores = pd.DataFrame({"exact": right.prod(1), "characters": right.mean(1)})
    parts = {kind: scores.groupby(values) for kind, values in kinds.items()}
    table = {kind: part.mean().assign(n=part.size()) for kind, part in parts.items()}
    return pd.concat(table, names=["kind", "value"])[["n", "exact", "characters"]]


def mistakes(queries: Queries, predicted: Tensor, n: int = 5) -> list[tuple[str, str, str]]:
    """The first `n` wrong answers as (query, predicted, answer)."""
    answers = queries.answers()
    wrong = (~_right(predicted, answers).all(1)).nonzero()[:n, 0]
    columns = (decode(tokens[wrong]) for tokens in (queries.tokens(), predicted, answers))
    return list(zip(*columns, strict=True))


def ceiling(accuracy: dict[str, float] | Tensor, tokens: Tensor) -> float:
    """Share of sequences (N, L) read without error, if symbols are read independently: ∏ p.

    accuracy: share p of each of SYMBOLS that is read right, in [0, 1], a dict or a tensor (13,).
    """
    if isinstance(accuracy, dict):
        accuracy = torch.tensor([accuracy[symbol] for symbol in SYMBOLS])
    if not ((accuracy >= 0) & (accuracy <= 1)).all():
        raise ValueError("accuracies are shares in [0, 1], not percentages")
    return accuracy.double()[tokens].prod(1).mean().item()


def wilson_interval(right: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of `right` in `n` (1927), not empty at 0 and n either."""
    from scipy.stats import binomtest  # here: the import takes a second

    if not 0 <= right <= n or n < 1:
        raise ValueError(f"a share needs 0 ≤ right ≤ n and n ≥ 1, got {right} of {n}")
    return tuple(binomtest(right, n).proportion_ci(method="wilson"))
