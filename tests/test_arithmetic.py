"""Queries and answers: Python's own integers are the oracle; the split leaks nothing; pictures
spell what the tokens say.
"""

import re

import pytest
import torch
import torch.nn.functional as F

from labkit.data import synthetic
from labkit.data.arithmetic import (
    BLANK,
    MINUS,
    SYMBOLS,
    Queries,
    all_queries,
    decode,
    glyphs,
    handwrite,
    held_out,
    parse,
    sample,
)
from labkit.data.images import DIGITS, STAND_IN, ImageSet
from labkit.data.splits import SPLITS, is_held_out
from labkit.data.synthetic.operators import HANDS, STYLES, operators
from labkit.data.synthetic.standin import CHUNK


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def queries():
    return all_queries()


@pytest.fixture(scope="module")
def digits():
    train, test = synthetic.digits(600, seed=0), synthetic.digits(300, seed=1)
    return ImageSet(
        "mnist",
        "MNIST stand-in",
        STAND_IN,
        train.images,
        test.images,
        train.labels,
        test.labels,
        DIGITS,
    )


def value(text):
    """What Python makes of a padded query or answer."""
    return eval(re.sub(r"\b0+(?=\d)", "", text.strip()))


def test_every_answer_is_pythons(queries):
    texts, answers = decode(queries.tokens()), decode(queries.answers())
    assert len(set(texts)) == 20_000
    assert all(value(text) == int(answer) for text, answer in zip(texts, answers, strict=True))


@pytest.mark.parametrize(
    ("text", "query", "answer"),
    [
        ("14+26", "14+26", " 40"),
        ("3-12", " 3-12", " -9"),
        ("99+99", "99+99", "198"),
        ("0-99", " 0-99", "-99"),
        ("7-7", " 7- 7", "  0"),
    ],
)
def test_padding_is_on_the_left_and_the_minus_directly_before_its_number(text, query, answer):
    parsed = parse(text)
    assert decode(parsed.tokens()) == [query] and decode(parsed.answers()) == [answer]


@pytest.mark.parametrize("digits", [1, 3, 4])
def test_other_lengths_of_operands(digits):
    drawn = sample(500, digits, "+-", generator())
    assert drawn.tokens().shape == (500, 2 * digits + 1) and drawn.answers().shape == (
        500,
        digits + 1,
    )
    assert [value(t) for t in decode(drawn.tokens())] == [int(t) for t in decode(drawn.answers())]
    assert drawn.a.max() < 10**digits and drawn.a.max() >= 10 ** (digits - 1)


def test_the_report_s_symbols_and_no_other(queries):
    assert len(SYMBOLS) == 13 and sorted(SYMBOLS) == sorted("0123456789+- ")
    assert queries.tokens().unique().tolist() == list(range(13))
    assert set(queries.answers().unique().tolist()) == set(range(10)) | {
        MINUS,
        BLANK,
    }  # no answer has a plus


def family(queries, index):
    """The unordered pairs behind some queries, without labkit's own key for them."""
    return set(
        map(frozenset, zip(queries.a[index].tolist(), queries.b[index].tolist(), strict=True))
    )


def test_the_split_has_a_fifth_of_all_and_shares_no_pair(queries):
    out = held_out(queries)
    assert not family(queries, ~out) & family(queries, out)
    assert out.double().mean().item() == pytest.approx(0.2, abs=0.01)


def test_other_groups_can_be_held_out_and_single_queries_leak(queries):
    out = held_out(queries, keys=torch.arange(len(queries)))
    known, test = family(queries, ~out), queries[out]
    pairs = map(frozenset, zip(test.a.tolist(), test.b.tolist(), strict=True))
    assert sum(pair in known for pair in pairs) / len(test) > 0.9


def test_seeds_give_other_splits_and_the_global_generator_is_left_alone(queries):
    before = torch.get_rng_state()
    assert torch.equal(held_out(queries, seed=1), held_out(queries, seed=1))
    assert not torch.equal(held_out(queries, seed=1), held_out(queries, seed=2))
    first, again = (sample(9, 4, "+", generator(4)).tokens() for _ in range(2))
    assert torch.equal(first, again) and torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("digits", [2, 4])
def test_samples_stay_in_their_split_whatever_the_order_and_the_sign(digits):
    sides = [sample(8000, digits, "+-", generator(), split) for split in ("train", "held_out")]
    assert len(sides[0]) == len(sides[1]) == 8000
    assert not family(sides[0], slice(None)) & family(sides[1], slice(None))
    for queries in sides:
        assert (queries.sign > 0).double().mean().item() == pytest.approx(0.5, abs=0.03)


def test_a_sample_holds_out_a_fifth_of_the_pairs_whatever_their_digits():
    """One digit: all 55 pairs are seen. Four digits: shares of drawn train pairs say the same."""
    train, out = (family(sample(5000, 1, "+", generator(), s), slice(None)) for s in SPLITS)
    assert len(train | out) == 55 and not train & out and 3 <= len(out) <= 20
    rows = F.pad(torch.randint(10_000, (100_000, 2), generator=generator()), (1, 0), value=4)
    assert is_held_out(rows).double().mean().item() == pytest.approx(0.2, abs=0.01)
    for column in (1, 2):
        for last in range(10):
            share = is_held_out(rows[rows[:, column] % 10 == last]).double().mean().item()
            assert share == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "abc",
        "14+",
        "+14",
        "14",
        "1+2+3",
        "-3+4",
        "1+-2",
        "14*3",
        "１+2",
        "2x+1",
        "--",
        "1.5+2",
    ],
)
def test_what_is_no_query_is_told_what_one_looks_like(text):
    with pytest.raises(
        ValueError,
        match=r"type two whole numbers of 1 to 2 digits with \+ or - between them.*14\+26",
    ):
        parse(text)


def test_too_long_an_operand_is_named_and_longer_ones_can_be_asked_for():
    with pytest.raises(ValueError, match="123 has 3 digits"):
        parse("5+123")
    assert decode(parse("5+123", digits=4).answers()) == ["  128"]


@pytest.mark.parametrize("text", ["3−17", " 3 - 17 ", "03-17", "3-17\n"])
def test_spaces_zeros_and_a_typographic_minus_are_understood(text):
    assert decode(parse(text).tokens()) == [" 3-17"]


def test_bad_requests_are_refused(queries, digits):
    with pytest.raises(ValueError, match="use|sample"):
        all_queries(4)
    for operators_ in ("", "*", "+*"):
        with pytest.raises(ValueError, match="operators must be"):
            all_queries(operators=operators_)
    for share in (-0.5, 0.0, 1.0, 1.5, 1e-9):
        with pytest.raises(ValueError, match="share must be between 0 and 1"):
            held_out(queries, share)
    with pytest.raises(ValueError, match="held_out"):
        sample(3, 2, "+", generator(), "test")
    for digits_ in (0, -1, 10):
        with pytest.raises(ValueError, match="1 to 9 digits"):
            sample(3, digits_, "+", generator())
    for n in (0, -3):
        with pytest.raises(ValueError, match="at least 1"):
            sample(n, 2, "+", generator())
    one = torch.tensor([1])
    for a, b in ((100, 1), (1, 100), (-1, 1)):
        with pytest.raises(ValueError, match="negative or has more than 2 digits"):
            Queries(torch.tensor([a]), torch.tensor([b]), one)
    with pytest.raises(ValueError, match="train"):
        glyphs(digits, "both")
    few = ImageSet(
        "mnist",
        "few",
        STAND_IN,
        digits.train[:3],
        digits.test,
        digits.train_labels[:3],
        digits.test_labels,
        DIGITS,
    )
    with pytest.raises(ValueError, match="load more"):
        glyphs(few, "train")


def test_pictures_are_of_the_symbols_asked_for(digits, queries):
    bank, tokens = glyphs(digits, "train"), queries[torch.arange(0, 20_000, 41)].tokens()
    pictures = handwrite(tokens, bank, generator())
    assert (
        set(tokens[:, 2].tolist()) == {10, 11}
        and pictures.shape == (len(tokens), 5, 1, 28, 28)
        and pictures.dtype == torch.uint8
    )
    known = {
        image.numpy().tobytes(): label
        for image, label in zip(bank.images, bank.labels.tolist(), strict=True)
    }
    assert [known[p.numpy().tobytes()] for p in pictures.flatten(0, 1)] == tokens.flatten().tolist()
    assert (pictures[tokens == BLANK] == 0).all()
    labelled = {
        i.numpy().tobytes(): label
        for i, label in zip(digits.train, digits.train_labels.tolist(), strict=True)
    }
    assert all(known[image] == label for image, label in labelled.items())


def test_every_picture_of_a_symbol_is_drawn_and_the_halves_share_none_but_the_blank(digits):
    train, test = glyphs(digits, "train"), glyphs(digits, "test")
    seen = handwrite(torch.full((4000, 1), 7), train, generator()).flatten(1).unique(dim=0)
    assert len(seen) == train.count[7]
    both = set(map(bytes, train.images.flatten(1).numpy())) & set(
        map(bytes, test.images.flatten(1).numpy())
    )
    assert both == {bytes(28 * 28)}


def test_the_same_generator_draws_the_same_pictures(digits):
    bank, tokens = glyphs(digits, "test"), parse("14+26").tokens()
    assert torch.equal(handwrite(tokens, bank, generator(3)), handwrite(tokens, bank, generator(3)))
    assert not torch.equal(
        handwrite(tokens, bank, generator(3)), handwrite(tokens, bank, generator(4))
    )


def test_operators_look_like_what_they_are():
    signs = operators(600, seed=5)
    ink = signs.images[:, 0].float() / 255
    rows, columns = (ink.amax(2) > 0.3).sum(1), (ink.amax(1) > 0.3).sum(1)
    plus = signs.labels == 0
    assert (rows[plus] > 6).all() and (columns[plus] > 6).all()  # a stem and a bar
    assert (columns[~plus] > 1.5 * rows[~plus]).float().mean() > 0.97 and (
        columns[~plus] >= 10
    ).all()
    assert (ink.amax((1, 2)) > 0.94).all() and len(signs.images.flatten(1).unique(dim=0)) == 600
    for size in (rows[plus], columns[~plus]):
        assert size.float().std() > 1.5  # written small and large
    assert (
        set(signs.factors["style"][plus].tolist()) == set(map(float, range(len(STYLES[0]))))
        and len(HANDS.count) == 2
    )


def test_a_small_set_of_operators_begins_a_large_one():
    assert torch.equal(operators(7, seed=3).images, operators(CHUNK + 1, seed=3).images[:7])
    assert not torch.equal(operators(7, seed=3).images, operators(7, seed=4).images)
