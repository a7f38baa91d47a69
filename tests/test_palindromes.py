import pytest
import torch

from labkit.data import palindromes
from labkit.data.palindromes import SPLITS, enumerate_all, inputs, is_held_out, sample, targets


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("length", [3, 4, 5, 10, 101])
@pytest.mark.parametrize("split", SPLITS)
def test_samples_are_palindromes_of_their_split(length, split):
    digits = sample(300, length, split, generator())
    assert digits.shape == (300, length) and digits.min() >= 0 and digits.max() <= 9
    assert torch.equal(digits, digits.flip(1))
    assert (is_held_out(digits) == (split == "held_out")).all()


@pytest.mark.parametrize("length", [3, 5, 6])
def test_the_two_splits_share_nothing_and_miss_nothing(length):
    sets = [set(map(tuple, enumerate_all(length, split).tolist())) for split in SPLITS]
    assert not sets[0] & sets[1]
    assert len(sets[0] | sets[1]) == 10 ** ((length + 1) // 2)


def test_about_a_fifth_is_held_out_and_every_digit_is_asked_for():
    digits = enumerate_all(9, "held_out")
    assert len(digits) / 10**5 == pytest.approx(0.2, abs=0.01)
    assert (targets(digits).bincount(minlength=10) / len(digits)).allclose(
        torch.tensor(0.1), atol=0.01
    )


def test_the_same_generator_gives_the_same_palindromes_and_the_global_one_is_left_alone():
    before = torch.get_rng_state()
    assert torch.equal(sample(9, 20, "train", generator(4)), sample(9, 20, "train", generator(4)))
    assert not torch.equal(
        sample(9, 20, "train", generator(4)), sample(9, 20, "train", generator(5))
    )
    assert torch.equal(before, torch.get_rng_state())


def test_inputs_never_show_the_last_digit():
    digits = sample(50, 7, "train", generator())
    changed = digits.clone()
    changed[:, -1] = (changed[:, -1] + 1) % 10
    for encoding, width in palindromes.ENCODINGS.items():
        x = inputs(digits, encoding)
        assert x.shape == (50, 6, width)
        assert torch.equal(x, inputs(changed, encoding))
    assert torch.equal(inputs(digits, "one_hot").argmax(-1), digits[:, :-1])


def test_standardised_digits_have_mean_0_and_variance_1():
    x = inputs(torch.arange(10).repeat(2, 1).T, "standardised")
    assert x.mean().item() == pytest.approx(0, abs=1e-6) and x.var(
        unbiased=False
    ).item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("length", [-1, 0, 1])
def test_too_short_a_length_is_refused(length):
    for make in (
        lambda: sample(3, length, "train", generator()),
        lambda: enumerate_all(length, "train"),
    ):
        with pytest.raises(ValueError, match="T >= 2"):
            make()


def test_unknown_split_and_encoding_name_the_choices():
    with pytest.raises(ValueError, match="held_out"):
        sample(3, 5, "test", generator())
    with pytest.raises(ValueError, match="one_hot"):
        inputs(sample(3, 5, "train", generator()), "binary")
