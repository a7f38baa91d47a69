"""Profiles, seeds, and when to compute in bfloat16."""

import random

import numpy as np
import pytest
import torch

from labkit.profile import PROFILES, autocast, has_bf16, pick, profile, seed_everything, seed_of_run


@pytest.mark.parametrize("name", PROFILES)
def test_pick_takes_the_value_of_the_profile(monkeypatch, name):
    monkeypatch.setenv("LABKIT_PROFILE", name)
    assert pick(smoke="smoke", cpu="cpu", full="full") == name == profile()


def test_an_unknown_profile_is_refused_and_the_three_are_named(monkeypatch):
    monkeypatch.setenv("LABKIT_PROFILE", "fast")
    with pytest.raises(ValueError) as error:
        profile()
    assert "fast" in str(error.value) and all(name in str(error.value) for name in PROFILES)


def test_without_the_variable_tests_run_in_smoke_and_laptops_in_cpu(monkeypatch):
    monkeypatch.delenv("LABKIT_PROFILE", raising=False)
    assert profile() == "smoke"
    monkeypatch.delenv("PYTEST_VERSION")
    monkeypatch.setattr("labkit.profile._accelerator", lambda: "cpu")
    assert profile() == "cpu"
    monkeypatch.setattr("labkit.profile._accelerator", lambda: "cuda")
    assert profile() == "full"


def test_the_seed_of_a_run_is_that_of_the_variable_or_0(monkeypatch):
    for given, seed in {"": 0, "3": 3, " 12 ": 12}.items():
        monkeypatch.setenv("LABKIT_SEED", given)
        assert seed_of_run() == seed
    monkeypatch.delenv("LABKIT_SEED")
    assert seed_of_run() == 0


@pytest.mark.parametrize("given", ["one", "1.5", "-1"])
def test_a_seed_that_is_no_whole_number_is_refused_with_the_remedy(monkeypatch, given):
    monkeypatch.setenv("LABKIT_SEED", given)
    with pytest.raises(ValueError, match=f"LABKIT_SEED='{given}'.*set it to a whole number"):
        seed_of_run()


def test_seed_everything_repeats_all_three_generators():
    def draw():
        seed_everything(3)
        return random.random(), np.random.rand(), torch.rand(1).item()

    assert draw() == draw()


@pytest.mark.parametrize("there", [True, False])
def test_autocast_computes_in_bfloat16_only_where_the_processor_can(monkeypatch, there):
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: there, raising=False)
    assert has_bf16("cpu") == there
    with autocast("cpu"):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if there else torch.float32)
