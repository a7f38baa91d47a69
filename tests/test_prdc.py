"""Precision, recall, density and coverage against their definitions, the reference code, and what
identical distributions must score.
"""

import contextlib
import io
import math

import pytest
import torch

from labkit.metrics.prdc import prdc


def draws(n, d, seed, shift=0.0, scale=1.0):
    return (
        scale
        * torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        + shift
    )


def by_definition(real, fake, k):
    """The four shares, one pair at a time."""

    def ball(points, i):
        return sorted((points[i] - p).norm().item() for j, p in enumerate(points) if j != i)[k - 1]

    real_balls, fake_balls = (
        [ball(real, i) for i in range(len(real))],
        [ball(fake, j) for j in range(len(fake))],
    )
    near = (real[:, None] - fake[None]).norm(dim=2)
    inside = near < torch.tensor(real_balls)[:, None]
    return {
        "precision": inside.any(0).double().mean().item(),
        "recall": (near < torch.tensor(fake_balls)).any(1).double().mean().item(),
        "density": inside.sum().item() / (k * len(fake)),
        "coverage": inside.any(1).double().mean().item(),
    }


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("batch_size", [7, 1000])
def test_it_is_the_definition_whatever_the_blocks(k, batch_size):
    real, fake = draws(30, 2, 0), draws(41, 2, 1, shift=0.7)
    assert prdc(real, fake, k, batch_size) == pytest.approx(by_definition(real, fake, k))


def test_it_agrees_with_the_reference_code():
    reference = pytest.importorskip("prdc")
    real, fake = draws(400, 8, 0).relu(), draws(300, 8, 1, shift=0.3).relu()
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = reference.compute_prdc(real.numpy(), fake.numpy(), nearest_k=5)
    assert prdc(real, fake) == pytest.approx({name: float(value) for name, value in theirs.items()})


def expected_coverage(n, m, k=5):
    """1 − ∏ (n − i) / (n + m − i): B(x) is empty if the k nearest of all others are real."""
    return 1 - math.prod((n - i) / (n + m - i) for i in range(1, k + 1))


@pytest.mark.parametrize(("n", "m", "d"), [(600, 600, 2), (600, 600, 16), (500, 1500, 4)])
def test_one_distribution_has_density_1_and_the_expected_coverage(n, m, d):
    scores = [prdc(draws(n, d, s), draws(m, d, 100 + s)) for s in range(6)]
    density, coverage = (sum(s[name] for s in scores) / 6 for name in ("density", "coverage"))
    assert density == pytest.approx(1, abs=0.06) and coverage == pytest.approx(
        expected_coverage(n, m), abs=0.015
    )


def test_a_model_of_one_mode_is_precise_and_covers_little():
    real = torch.cat([draws(200, 3, 0), draws(200, 3, 1, shift=50)])
    scores = prdc(real, draws(400, 3, 2))
    assert scores["precision"] > 0.9 and scores["recall"] < 0.51 and scores["coverage"] < 0.51


def test_a_model_that_draws_noise_besides_covers_all_and_is_not_precise():
    scores = prdc(draws(300, 3, 0), torch.cat([draws(300, 3, 1), draws(300, 3, 2, shift=50)]))
    assert scores["precision"] < 0.51 and scores["coverage"] > 0.9 and scores["density"] < 0.6


def test_an_outlier_inflates_precision_and_density_less():
    real = torch.cat(
        [draws(200, 2, 0), torch.full((1, 2), 30.0)]
    )  # its ball reaches back to the others
    scores = prdc(real, draws(200, 2, 1, shift=12))
    assert scores["precision"] > 0.9 and scores["density"] < 0.3


def test_copies_of_one_image_have_no_recall():
    scores = prdc(draws(200, 3, 0), torch.zeros(100, 3))
    assert scores["recall"] == 0 and scores["coverage"] < 0.2


@pytest.mark.parametrize("far", [0.0, 1e6])
def test_a_common_shift_changes_nothing(far):
    real, fake = draws(100, 4, 0), draws(100, 4, 1, shift=0.5)
    assert prdc(real + far, fake + far) == prdc(real, fake)


def test_neighbours_are_counted_from_one():
    with pytest.raises(ValueError, match="k must be a whole number"):
        prdc(draws(9, 2, 0), draws(9, 2, 1), k=0)
