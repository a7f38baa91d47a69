"""The Fréchet distance against scipy's matrix root, closed forms, and the cases in which that root
fails.
"""

import numpy as np
import pytest
import scipy.linalg
import torch

from labkit.metrics.frechet import (
    expected_floor,
    frechet_distance,
    frechet_infinity,
    total_variance,
)


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
    x, y = (
        torch.tensor([[0.0], [2.0]]),
        torch.tensor([[5.0], [9.0]]),
    )  # means 1 and 7, deviations √2 and √8
    assert frechet_distance(x, y) == pytest.approx(36 + (8**0.5 - 2**0.5) ** 2)


def test_a_shift_of_all_features_adds_its_square():
    x = features(100, 5, 0)
    assert frechet_distance(x, x + 3) == pytest.approx(5 * 9)


def test_it_is_symmetric_zero_for_the_same_and_ignores_rotation():
    x, y = features(150, 6, 0), features(80, 6, 1)
    rotation = torch.linalg.qr(
        torch.randn(6, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    ).Q
    assert frechet_distance(x, y) == pytest.approx(frechet_distance(y, x))
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(x @ rotation, y @ rotation) == pytest.approx(frechet_distance(x, y))


def test_rank_deficient_and_float32_features_give_a_real_number():
    x, y = features(70, 64, 0).float(), features(80, 64, 1).float()
    x[:, :8] = 0  # units that never fire
    y[:, 8:16] = y[:, 16:24]  # and units that say the same
    assert frechet_distance(x, y) > 0
    assert 0 <= frechet_distance(x, x) < 1e-6


@pytest.mark.parametrize("smallest", [1.0, 1e-2, 1e-3, 1e-5, 1e-7, 0.0])
def test_no_spread_of_variances_costs_digits(smallest):
    """Deviations from 1 down to `smallest` on known axes: covariances that are diagonal have a
    distance without a matrix root.
    """
    deviations = torch.logspace(0, -9, 8, dtype=torch.float64).clamp_min(smallest)
    x = (
        torch.linalg.qr(features(400, 8, 0) - features(400, 8, 0).mean(0)).Q * 399**0.5
    )  # mean 0 and covariance I
    rotation = torch.linalg.qr(features(8, 8, 2)).Q
    d2 = frechet_distance(
        x * deviations @ rotation, x.flip(0) * deviations.flip(0) @ rotation + 0.1
    )
    assert d2 == pytest.approx(
        8 * 0.1**2 + (deviations - deviations.flip(0)).square().sum().item(), rel=1e-10, abs=1e-10
    )


def test_two_samples_of_one_distribution_are_not_at_distance_zero():
    """The bias that the real-vs-real floor shows: it falls with the number of samples."""
    few, many = (frechet_distance(features(n, 16, 0), features(n, 16, 1)) for n in (100, 10_000))
    assert few > 20 * many > 0


def test_a_constant_generator_is_at_least_the_total_variance_away():
    x = features(500, 6, 0)
    assert frechet_distance(x, x.mean(0).expand(50, -1)) == pytest.approx(total_variance(x))


@pytest.mark.parametrize(("x", "y"), [((5, 3), (5, 4)), ((5,), (5, 3)), ((5, 3, 1), (5, 3, 1))])
def test_features_that_cannot_be_compared_are_refused(x, y):
    with pytest.raises(ValueError, match=r"expected features \(N, D\) and \(M, D\)"):
        frechet_distance(torch.ones(x), torch.ones(y))


def test_as_many_samples_as_dimensions_are_too_few():
    x = features(4, 3, 0)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    with pytest.raises(ValueError, match=r"N = 4, M = 3, D = 3: 4 or more of each are needed"):
        frechet_distance(x, x[:3])


def test_it_agrees_with_torchmetrics():
    fid = pytest.importorskip("torchmetrics.image.fid")
    x, y = features(400, 12, 0).abs(), features(300, 12, 1, scale=1.2, shift=0.2).abs()
    theirs = fid._compute_fid(x.mean(0), x.T.cov(), y.mean(0), y.T.cov())
    assert frechet_distance(x, y) == pytest.approx(theirs.item(), rel=1e-6)


def test_the_expected_floor_of_unit_variance_is_a_polynomial():
    x = torch.cat([torch.eye(6), -torch.eye(6)]).double() * (11 / 2) ** 0.5  # covariance I exactly
    assert expected_floor(x, 1000, 500) == pytest.approx((1 / 1000 + 1 / 500) * (6 + 6 * 7 / 4))
    with_a_dead_unit = torch.cat([x, torch.zeros(12, 1)], dim=1)
    assert expected_floor(with_a_dead_unit, 1000, 500) == pytest.approx(
        expected_floor(x, 1000, 500)
    )


def test_real_against_real_lies_at_the_expected_floor():
    n, m, d = 1500, 1000, 16
    measured = [frechet_distance(features(n, d, s), features(m, d, 100 + s)) for s in range(8)]
    assert sum(measured) / 8 == pytest.approx(
        expected_floor(features(20_000, d, 50), n, m), rel=0.15
    )


def test_extrapolation_removes_the_bias():
    """N(0, I) against N(0, 1.1² I) is at D · 0.1² exactly, and the same distribution at 0."""
    n, d = 4000, 24

    def draws(seed, scale=1.0):
        return scale * torch.randn(
            n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
        )

    for scale, truth in ((1.0, 0.0), (1.1, d * 0.1**2)):
        pairs = [(draws(s), draws(50 + s, scale)) for s in range(4)]
        plain = sum(frechet_distance(x, y) for x, y in pairs) / 4 - truth
        limits = sum(frechet_infinity(x, y).limit for x, y in pairs) / 4 - truth
        assert plain > 0.05 and abs(limits) < plain / 4


def test_extrapolation_says_its_points_and_its_line():
    x, y = features(600, 5, 0), features(900, 5, 1)
    line = frechet_infinity(x, y, parts=(1, 3))
    assert line.counts == [600, 200] and line.distances[0] == pytest.approx(frechet_distance(x, y))
    assert [line.limit + line.slope / n for n in line.counts] == pytest.approx(
        line.distances
    )  # two points are on their line
    assert line == frechet_infinity(x, y, parts=(1, 3)) and line.slope > 0


@pytest.mark.parametrize("parts", [(3,), (2, 2), (0, 1)])
def test_a_line_needs_two_points(parts):
    with pytest.raises(ValueError, match="a line needs two"):
        frechet_infinity(features(50, 2, 0), features(50, 2, 1), parts=parts)


def test_extrapolation_needs_samples_in_its_smallest_part():
    with pytest.raises(
        ValueError, match=r"N = 40, M = 100, D = 9: 50 or more .* in each of 5 parts"
    ):
        frechet_infinity(features(40, 9, 0), features(100, 9, 1))


def test_moments_of_what_has_none_are_refused():
    with pytest.raises(ValueError, match="2 or more of each are needed"):
        total_variance(features(1, 4, 0))
    with pytest.raises(ValueError, match="hold NaN"):
        expected_floor(torch.full((9, 2), torch.nan), 10, 10)
    with pytest.raises(ValueError, match="n must be a whole number"):
        expected_floor(features(9, 2, 0), 0, 10)
