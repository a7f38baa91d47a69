"""Palindromes leak nothing between their splits; a run does what its settings say."""

import math
import os
import signal
from dataclasses import replace
from functools import partial

import pytest
import torch

from labkit.data import palindromes
from labkit.data.palindromes import (
    SPLITS,
    enumerate_all,
    inputs,
    is_held_out,
    mirror,
    one_hot,
    sample,
    scalar,
    standardised,
    targets,
)
from labkit.models import LSTM, VanillaRNN
from labkit.studies.palindromes import PalindromeRun, held_out_set, run, summary
from labkit.training.sweep import sweep


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("length", [2, 3, 4, 5, 10, 101])
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


def test_every_free_digit_and_the_length_decide_on_the_side():
    """If a key is left out of the hash, palindromes that differ in it alone are on one side."""
    free = torch.randint(10, (2000, 5), generator=generator())
    sides = is_held_out(mirror(free, 9))
    for place in range(5):
        changed = free.clone()
        changed[:, place] = (changed[:, place] + 1) % 10
        moved = (is_held_out(mirror(changed, 9)) != sides).double().mean()
        assert moved.item() == pytest.approx(2 * 0.2 * 0.8, abs=0.05)
    longer = (is_held_out(mirror(free, 10)) != sides).double().mean()
    assert longer.item() == pytest.approx(2 * 0.2 * 0.8, abs=0.05)


def test_the_held_out_palindromes_of_length_5_are_the_210_of_the_published_runs():
    digits = enumerate_all(5, "held_out")
    assert len(digits) == 210 and digits[:3, :3].tolist() == [[0, 0, 2], [0, 0, 6], [0, 1, 3]]


def test_inputs_never_show_the_last_digit():
    digits = sample(50, 7, "train", generator())
    changed = digits.clone()
    changed[:, -1] = (changed[:, -1] + 1) % 10
    for encoding, width in ((one_hot, 10), (scalar, 1), (standardised, 1)):
        x = inputs(digits, encoding)
        assert x.shape == (50, 6, width)
        assert torch.equal(x, inputs(changed, encoding))
    assert torch.equal(inputs(digits).argmax(-1), digits[:, :-1])
    assert torch.equal(inputs(digits, scalar)[..., 0], digits[:, :-1].float())


def test_standardised_digits_have_mean_0_and_variance_1():
    x = standardised(torch.arange(10))
    assert x.mean().item() == pytest.approx(0, abs=1e-6)
    assert x.var(unbiased=False).item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("length", [-1, 0, 1])
def test_too_short_a_length_is_refused(length):
    for make in (
        lambda: sample(3, length, "train", generator()),
        lambda: enumerate_all(length, "train"),
    ):
        with pytest.raises(ValueError, match="T >= 2"):
            make()


def test_an_unknown_split_names_the_choices():
    for make in (lambda: sample(3, 5, "test", generator()), lambda: enumerate_all(5, "test")):
        with pytest.raises(ValueError, match="train.*held_out.*'test'"):
            make()


def test_sizes_that_make_no_sense_are_refused():
    for n in (0, -3):
        with pytest.raises(ValueError, match="at least 1"):
            sample(n, 5, "train", generator())
    with pytest.raises(ValueError, match="sample"):
        enumerate_all(13, "train")


TINY = PalindromeRun(length=3, steps=40, log_every=10, hidden_dim=32)


def test_the_same_settings_give_the_same_run_and_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    first, second = run(TINY), run(TINY)
    assert torch.equal(before, torch.get_rng_state())
    assert first["history"] == second["history"]
    assert all(torch.equal(first["network"][k], second["network"][k]) for k in first["network"])
    assert run(replace(TINY, seed=1))["history"] != first["history"]


def test_a_run_stops_when_it_has_learned():
    assert len(run(TINY)["history"]) == 4
    assert len(run(replace(TINY, stop_at=0.0))["history"]) == 2


def test_a_network_that_still_guesses_is_given_up_and_one_that_learns_is_not():
    hopeless = run(replace(TINY, length=50, hidden_dim=8, give_up=20))["history"]
    assert len(hopeless) == 2 and hopeless[-1]["held_out_accuracy"] < 0.15
    assert len(run(replace(TINY, lr=1e-2, give_up=20))["history"]) == 4


def test_training_learns_held_out_palindromes():
    setting = PalindromeRun(steps=300, hidden_dim=64, log_every=50, stop_at=0.99, lr=3e-3)
    result = run(setting)
    assert result["history"][-1]["held_out_accuracy"] >= 0.99
    digits = enumerate_all(5, "held_out")
    with torch.no_grad():
        answers = setting.trained(result)(inputs(digits)).argmax(1)
    assert (answers == targets(digits)).double().mean() >= 0.99


def test_a_step_is_no_longer_than_the_clipped_gradient():
    setting = replace(TINY, steps=1, optimizer=torch.optim.SGD, lr=1.0, max_norm=1e-3)
    torch.manual_seed(setting.seed)
    before = setting.build().state_dict()
    moved = [w - before[name] for name, w in run(setting)["network"].items()]
    length = torch.cat([part.flatten() for part in moved]).norm().item()
    assert length == pytest.approx(1e-3, rel=1e-2)  # the gradient itself is much longer


def test_an_interrupted_run_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    whole, batches, sample_ = run(TINY), [], palindromes.sample

    def interrupt_the_third(*arguments):
        batches.append(1)
        if len(batches) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return sample_(*arguments)

    monkeypatch.setattr(palindromes, "sample", interrupt_the_third)
    with pytest.raises(KeyboardInterrupt, match="step 3 of 40"):
        run(TINY, tmp_path / "run.partial")
    resumed = run(TINY, tmp_path / "run.partial")
    assert len(batches) == 40 and resumed["history"] == whole["history"]
    assert all(torch.equal(w, whole["network"][name]) for name, w in resumed["network"].items())


def test_the_held_out_set_is_the_same_for_all_and_every_one_where_there_are_few():
    assert len(held_out_set(5, 1000)) == 210 and len(held_out_set(20, 1000)) == 1000
    assert torch.equal(held_out_set(20, 50), held_out_set(20, 50))
    assert is_held_out(held_out_set(20, 50)).all()


def test_a_sweep_of_runs_gives_what_a_loop_would(tmp_path):
    grid = [replace(TINY, steps=6, log_every=3, seed=seed) for seed in (0, 1)]
    expected = [run(setting)["history"] for setting in grid]
    assert [r["history"] for r in sweep(run, grid, store=tmp_path)] == expected
    assert expected[0] != expected[1]


def test_a_run_has_learned_at_the_first_of_two_good_scores_in_a_row_and_a_spike_is_none():
    def result(*accuracies):
        rows = [{"step": 10 * k, "held_out_accuracy": a} for k, a in enumerate(accuracies, 1)]
        return {"history": rows}

    networks = [LSTM, VanillaRNN, partial(LSTM, forget_bias=3.0)]
    table = summary(
        [PalindromeRun(network, seed=k) for k, network in enumerate(networks)],
        [result(0.1, 0.999, 1.0), result(1.0, 0.6, 0.5), result(1.0, 0.6, 0.999, 0.999, 0.7)],
    )
    assert table.learned_at[0] == 20 and math.isnan(table.learned_at[1])
    assert table.learned_at[2] == 30
    assert table.accuracy.tolist() == [1.0, 0.5, 0.7] and table.seed.tolist() == [0, 1, 2]
    assert table.network.tolist() == ["LSTM", "VanillaRNN", "LSTM(forget_bias=3.0)"]
