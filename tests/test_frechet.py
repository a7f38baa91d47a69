"""The Fréchet distance against scipy's matrix root, closed forms, and the cases in which that root fails."""

import numpy as np
import pytest
import scipy.linalg
import torch

from labkit.metrics.frechet import frechet_distance, total_variance


def features(n, d, seed, scale=1.0, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, generator=torch.Generator().manual_seed(99), dtype=torch.float64)
    return torch.randn(n, d, generator=generator, dtype=torch.float64) @ mix * scale + shift


def test_it_agrees_with_the_textbook_formula_by_scipy():
    x, y = features(300, 8, 0), features(200, 8, 1, scale=1.5, shift=0.3)
    s_x, s_y = np.cov(x.T.numpy()), np.cov(y.T.numpy())
    root = scipy.linalg.sqrtm(s_x @ s_y).real
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum().item() + np.trace(s_x + s_y - 2 * root)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-9)


def test_in_one_dimension_it_is_the_difference_of_means_and_deviations():
    x, y = torch.tensor([[0.0], [2.0]]), torch.tensor([[5.0], [9.0]])  # means 1 and 7, deviations √2 and √8
    assert frechet_distance(x, y) == pytest.approx(36 + (8**0.5 - 2**0.5) ** 2)


def test_a_shift_of_all_features_adds_its_square():
    x = features(100, 5, 0)
    assert frechet_distance(x, x + 3) == pytest.approx(5 * 9)


def test_it_is_symmetric_zero_for_the_same_and_ignores_rotation():
    x, y = features(150, 6, 0), features(80, 6, 1)
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)).Q
    assert frechet_distance(x, y) == pytest.approx(frechet_distance(y, x))
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(x @ rotation, y @ rotation) == pytest.approx(frechet_distance(x, y))


def test_rank_deficient_and_float32_features_give_a_real_number():
    x, y = features(10, 64, 0).float(), features(12, 64, 1).float()  # fewer samples than dimensions
    x[:, :8] = 0  # and units that never fire
    assert frechet_distance(x, y) > 0
    assert 0 <= frechet_distance(x, x) < 1e-6


def test_two_samples_of_one_distribution_are_not_at_distance_zero():
    """The bias that the real-vs-real floor shows: it falls with the number of samples."""
    few, many = (frechet_distance(features(n, 16, 0), features(n, 16, 1)) for n in (100, 10_000))
    assert few > 20 * many > 0


def test_a_constant_generator_is_at_least_the_total_variance_away():
    x = features(500, 6, 0)
    assert frechet_distance(x, x.mean(0).expand(50, -1)) == pytest.approx(total_variance(x))


@pytest.mark.parametrize(("x", "y"), [((5, 3), (5, 4)), ((1, 3), (5, 3)), ((5,), (5, 3))])
def test_features_that_cannot_be_compared_are_refused(x, y):
    with pytest.raises(ValueError, match=r"expected features \(N, D\) and \(M, D\)"):
        frechet_distance(torch.ones(x), torch.ones(y))
