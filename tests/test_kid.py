"""KID against its definition, torchmetrics, and distributions whose distance is known."""

import pytest
import torch

from labkit.metrics.kid import kid, mmd2


def draws(n, d, seed, shift=0.0, scale=1.0):
    return (
        scale
        * torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        + shift
    )


def test_it_is_the_sum_over_pairs_of_the_paper():
    x, y = draws(7, 3, 0), draws(5, 3, 1, shift=0.5)

    def mean_of_pairs(a, b, same):
        values = [
            (p @ q / 3 + 1) ** 3
            for i, p in enumerate(a)
            for j, q in enumerate(b)
            if not (same and i == j)
        ]
        return sum(values) / len(values)

    expected = (
        mean_of_pairs(x, x, True) + mean_of_pairs(y, y, True) - 2 * mean_of_pairs(x, y, False)
    )
    assert mmd2(x, y).item() == pytest.approx(expected.item(), rel=1e-12)


def test_a_shift_in_one_dimension_has_a_closed_form():
    """In one dimension MMD² = Σ_k binom(3, k) (E x^k − E y^k)²; for N(0, 1) against N(a, 1): 3a² +
    3a⁴ + (a³ + 3a)².
    """
    a, n = 0.5, 1500
    truth = 3 * a**2 + 3 * a**4 + (a**3 + 3 * a) ** 2
    measured = [mmd2(draws(n, 1, s), draws(n, 1, 100 + s, shift=a)).item() for s in range(10)]
    assert sum(measured) / 10 == pytest.approx(truth, rel=0.1)


@pytest.mark.parametrize("n", [50, 500])
def test_it_has_no_bias_at_any_number_of_samples(n):
    """A biased estimate would be off by (E k(x, x) − E k(x, x′)) · 2/n, far outside of the band."""
    values = torch.stack([mmd2(draws(n, 8, 2 * s), draws(n, 8, 2 * s + 1)) for s in range(200)])
    error = values.std() / len(values) ** 0.5
    bias_if_diagonals_counted = 2 / n * ((draws(1000, 8, 1).square().sum(1) / 8 + 1) ** 3).mean()
    assert abs(values.mean()) < 3 * error and bias_if_diagonals_counted > 6 * error


def test_worse_samples_are_further_and_the_spread_falls_with_the_size():
    x = draws(2000, 6, 0)
    near, far = (kid(x, draws(2000, 6, 1, shift=s), subsets=20, size=500) for s in (0.1, 0.5))
    assert far.mean > near.mean + 3 * (near.sd + far.sd)
    assert (
        kid(x, draws(2000, 6, 1), subsets=20, size=200).sd
        > kid(x, draws(2000, 6, 1), subsets=20, size=1000).sd
    )


def test_one_seed_gives_one_value_and_another_another():
    x, y = draws(300, 4, 0), draws(400, 4, 1)
    first = kid(x, y, subsets=3, size=100)
    assert kid(x, y, subsets=3, size=100) == first != kid(x, y, subsets=3, size=100, seed=1)


def test_float32_is_precise_enough():
    x, y = draws(2000, 64, 0).relu(), draws(2000, 64, 1, shift=0.02).relu()
    exact = kid(x, y, subsets=5)
    assert kid(x.float(), y.float(), subsets=5).mean == pytest.approx(
        exact.mean, abs=exact.sd / 100
    )


def test_it_agrees_with_torchmetrics():
    module = pytest.importorskip("torchmetrics.image.kid")
    x, y = draws(200, 16, 0), draws(200, 16, 1, shift=0.2)
    assert mmd2(x, y).item() == pytest.approx(module.poly_mmd(x, y).item(), rel=1e-9)


def test_one_sample_has_no_pairs():
    with pytest.raises(ValueError, match="N = 1, M = 5, D = 2: 2 or more"):
        mmd2(draws(1, 2, 0), draws(5, 2, 1))


@pytest.mark.parametrize("setting", [dict(subsets=1), dict(size=1)])
def test_no_spread_without_subsets(setting):
    with pytest.raises(ValueError, match="2 or more subsets of 2 or more"):
        kid(draws(10, 2, 0), draws(10, 2, 1), **{"subsets": 2, "size": 5, **setting})
