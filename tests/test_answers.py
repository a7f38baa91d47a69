"""Scores of answers: hand-made cases, paper arithmetic as the oracle, and bounds that must hold for
any predictions.
"""

import pytest
import torch

from labkit.data.arithmetic import SYMBOLS, all_queries, decode, parse
from labkit.metrics.answers import (
    breakdown,
    by_position,
    carries,
    ceiling,
    confusion_by_position,
    exact_match,
    mistakes,
    per_character,
    wilson_interval,
)


@pytest.fixture(scope="module")
def queries():
    return all_queries()


def spell(*answers):
    return torch.tensor([[SYMBOLS.index(c) for c in answer] for answer in answers])


def test_by_hand():
    answers, predicted = spell(" 40", "-12", "198"), spell(" 40", "-13", "  8")
    assert exact_match(predicted, answers) == pytest.approx(1 / 3)
    assert per_character(predicted, answers) == pytest.approx(6 / 9)
    assert by_position(predicted, answers).tolist() == pytest.approx([2 / 3, 2 / 3, 2 / 3])


def test_blanks_alone_earn_per_character_accuracy_but_no_exact_match(queries):
    answers = queries.answers()
    blanks = torch.full_like(answers, SYMBOLS.index(" "))
    assert exact_match(blanks, answers) == 0 and per_character(blanks, answers) > 0.15


def test_exact_match_lies_between_the_bounds_that_positions_set(queries):
    answers = queries.answers()
    noise = torch.rand(answers.shape, generator=torch.Generator().manual_seed(0)) < 0.2
    predicted = torch.where(noise, (answers + 1) % 13, answers)
    places, exact = by_position(predicted, answers), exact_match(predicted, answers)
    assert places.sum() - 2 <= exact <= places.min() <= per_character(predicted, answers)
    assert exact == pytest.approx(0.8**3, abs=0.02)  # independent mistakes: p^k


def test_confusion_counts_every_character_once(queries):
    answers = queries.answers()
    counts = confusion_by_position(answers, answers)
    assert counts.shape == (3, 13, 13) and counts.sum().item() == answers.numel()
    assert (counts - torch.diag_embed(counts.diagonal(dim1=1, dim2=2))).sum() == 0
    counts = confusion_by_position(spell(" 41"), spell(" 40"))
    assert counts[2, 0, 1] == 1 and counts[2].sum() == 1 and counts[1, 4, 4] == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("14+25", 0),
        ("14+26", 1),
        ("64+26", 1),
        ("74+26", 2),
        ("99+1", 2),
        ("58-26", 0),
        ("52-26", 1),
        ("26-52", 1),
        ("5-5", 0),
        ("9-10", 1),
    ],
)
def test_carries_and_borrows_as_on_paper(text, expected):
    assert carries(parse(text)).tolist() == [expected]


def test_carries_of_sums_are_kummers(queries):
    """Each carry turns a 10 into a 1: the digit sums of a and b exceed that of a + b by 9 a carry
    (Kummer 1852).
    """
    sums = queries[queries.sign > 0]

    def digit_sum(x):
        return x % 10 + x // 10 % 10 + x // 100

    assert torch.equal(
        carries(sums), (digit_sum(sums.a) + digit_sum(sums.b) - digit_sum(sums.result)) // 9
    )


def test_breakdown_parts_add_up(queries):
    answers = queries.answers()
    wrong_when_negative = torch.where((queries.result < 0)[:, None], (answers + 1) % 13, answers)
    table = breakdown(queries, wrong_when_negative)
    assert table.loc["result", "exact"].to_dict() == {"0 or more": 1.0, "negative": 0.0}
    for kind in ("operator", "result", "digits"):
        part = table.loc[kind]
        assert part.n.sum() == len(queries)
        assert (part.n * part.exact).sum() / len(queries) == pytest.approx(
            exact_match(wrong_when_negative, answers)
        )
    assert table.loc["carries"].n.sum() == table.loc["borrows"].n.sum() == len(queries) / 2
    assert set(table.loc["carries"].index) == {"0", "1", "2"} and set(
        table.loc["borrows"].index
    ) == {"0", "1"}


def test_first_mistakes_are_printed_as_text(queries):
    some = queries[torch.tensor([0, 1, 2])]
    predicted = some.answers().clone()
    predicted[1, 0] = SYMBOLS.index("1")
    assert mistakes(some, predicted) == [(decode(some.tokens())[1], "1 0", "  0")]
    assert mistakes(some, some.answers()) == []


def test_ceiling_is_p_to_the_k():
    tokens = all_queries().tokens()[:200]
    assert ceiling(dict.fromkeys(SYMBOLS, 0.99), tokens) == pytest.approx(0.99**5)
    assert ceiling(torch.tensor([0.9] * 10 + [1.0] * 3), spell("14+26", " 3- 7")) == pytest.approx(
        (0.9**4 + 0.9**2) / 2, rel=1e-6
    )


def test_wilson_has_its_known_values_and_never_shrinks_to_nothing():
    low, high = wilson_interval(81, 263)  # Newcombe 1998, Statistics in Medicine 17, table I
    assert low == pytest.approx(0.2553, abs=1e-4) and high == pytest.approx(0.3662, abs=1e-4)
    assert wilson_interval(100, 100)[0] < 0.97 and wilson_interval(0, 100) == pytest.approx(
        (0, 1 - wilson_interval(100, 100)[0]), abs=1e-9
    )
    with pytest.raises(ValueError, match="right"):
        wilson_interval(3, 2)


def test_a_perfect_score_of_few_has_a_wide_interval():
    """Wilson's interval for n of n is [n / (n + z²), 1]."""
    for n in (1, 10, 1000):
        assert wilson_interval(n, n) == pytest.approx((n / (n + 1.959964**2), 1.0), rel=1e-6)
    for right, n in ((-1, 5), (0, 0)):
        with pytest.raises(ValueError, match="right"):
            wilson_interval(right, n)


def test_what_is_no_symbol_is_not_counted_as_one():
    with pytest.raises(ValueError, match="not places in SYMBOLS"):
        confusion_by_position(torch.tensor([[0, 13]]), torch.tensor([[0, 1]]))


@pytest.mark.parametrize("p", [99.0, -0.1, float("nan")])
def test_a_ceiling_is_made_of_shares(p):
    with pytest.raises(ValueError, match=r"shares in \[0, 1\]"):
        ceiling(dict.fromkeys(SYMBOLS, p), spell("14+26"))


def test_nothing_to_score_and_other_shapes_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        exact_match(spell(" 40"), spell("-12", " 13"))
    with pytest.raises(ValueError, match="no answers"):
        per_character(spell(" 40")[:0], spell(" 40")[:0])
