"""Interpolation and grids: end points, speed, length, and scipy's own versions as oracles."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial import geometric_slerp
from scipy.stats import norm

from labkit.latent import lerp, normal_grid, path_length, slerp

T = torch.linspace(0, 1, 11)
DIMS = [2, 3, 64, 100]


def codes(dim, dtype=torch.float64, seed=0):
    a, b = torch.randn(2, dim, dtype=dtype, generator=torch.Generator().manual_seed(seed))
    return a, b


def angles(path):
    """Angles in radians between neighbours of a path (K, D)."""
    unit = path / path.norm(dim=1, keepdim=True)
    return 2 * torch.asin(unit.diff(dim=0).norm(dim=1) / 2)


@pytest.mark.parametrize("interpolate", [lerp, slerp])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dim", DIMS)
def test_a_path_starts_at_a_and_ends_at_b_in_their_type(interpolate, dtype, dim):
    a, b = codes(dim, dtype)
    path = interpolate(a, b, T)
    assert path.shape == (11, dim) and path.dtype == dtype
    torch.testing.assert_close(path[0], a)
    torch.testing.assert_close(path[-1], b)


@pytest.mark.parametrize("interpolate", [lerp, slerp])
def test_a_number_gives_one_code_and_the_same_as_in_a_row(interpolate):
    a, b = codes(5)
    assert interpolate(a, b, 0.3).shape == (5,)
    torch.testing.assert_close(
        interpolate(a, b, 0.3), interpolate(a, b, torch.tensor([0.1, 0.3]))[1], rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("interpolate", [lerp, slerp])
def test_the_way_back_is_the_way_there(interpolate):
    a, b = codes(7)
    torch.testing.assert_close(interpolate(a, b, T), interpolate(b, a, 1 - T), rtol=1e-6, atol=1e-6)


def test_lerp_is_torchs():
    a, b = codes(64)
    torch.testing.assert_close(lerp(a, b, 0.37), torch.lerp(a, b, 0.37))


@pytest.mark.parametrize("dim", DIMS)
def test_slerp_on_the_unit_sphere_is_scipys(dim):
    a, b = (code / code.norm() for code in codes(dim))
    theirs = geometric_slerp(a.numpy(), b.numpy(), T.double().numpy())
    np.testing.assert_allclose(slerp(a, b, T).numpy(), theirs, atol=1e-12)


@pytest.mark.parametrize("length", [0.01, 1, 8, 1e4])
def test_slerp_keeps_the_norm_and_has_the_length_of_the_arc(length):
    a, b = (length * code / code.norm() for code in codes(64))
    path = slerp(a, b, torch.linspace(0, 1, 1001))
    torch.testing.assert_close(
        path.norm(dim=1), torch.full((1001,), float(length), dtype=torch.float64)
    )
    omega = torch.acos(torch.nn.functional.cosine_similarity(a, b, dim=0))
    assert path_length(path) == pytest.approx(length * omega.item(), rel=1e-5)
    assert path_length(lerp(a, b, T)) == pytest.approx((b - a).norm().item())


@pytest.mark.parametrize("ratio", [1, 1.5, 20])
def test_slerp_has_constant_angular_speed_and_a_norm_between_those_of_its_ends(ratio):
    a, b = codes(64)
    b = b / b.norm() * a.norm() * ratio
    path = slerp(a, b, T.double())
    steps = angles(path)
    torch.testing.assert_close(steps, steps.mean().expand(10))
    torch.testing.assert_close(
        path.norm(dim=1), lerp(a.norm()[None], b.norm()[None], T)[:, 0], rtol=1e-6, atol=1e-6
    )


def test_lerp_between_orthogonal_codes_of_one_length_is_root_two_shorter_in_the_middle():
    a, b = torch.eye(2) * 5
    assert lerp(a, b, 0.5).norm().item() == pytest.approx(5 / math.sqrt(2))
    assert slerp(a, b, 0.5).norm().item() == pytest.approx(5)


@pytest.mark.parametrize("dim", [1, 2, 64])
@pytest.mark.parametrize("factor", [1, 3])
def test_slerp_between_parallel_codes_is_lerp(dim, factor):
    a, _ = codes(dim)
    torch.testing.assert_close(slerp(a, factor * a, T), lerp(a, factor * a, T))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_slerp_between_nearly_parallel_codes_stays_close_to_lerp(dtype):
    a, b = codes(64, dtype)
    for tiny in (1e-4, 1e-6, 1e-8, 1e-12):
        torch.testing.assert_close(
            slerp(a, a + tiny * b, T), lerp(a, a + tiny * b, T), rtol=1e-6, atol=1e-6
        )


@pytest.mark.parametrize("dim", [2, 3, 64])
@pytest.mark.parametrize("nudge", [0, 1e-14, 1e-9, 1e-5])
def test_slerp_between_opposite_codes_takes_half_a_great_circle(dim, nudge):
    a, c = codes(dim)
    b = -a + nudge * c
    path = slerp(a, b, T)
    torch.testing.assert_close(path.norm(dim=1), a.norm().expand(11), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        angles(path), torch.full((10,), torch.pi / 10, dtype=torch.float64), rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(path[-1], b)
    assert (path[5] @ a).abs() < 1e-4 * a.norm() ** 2  # half way it is at right angles


@pytest.mark.parametrize("interpolate", [lerp, slerp])
@pytest.mark.parametrize("b", [torch.ones(4), torch.ones(1, 3)])
def test_codes_that_do_not_match_are_refused(interpolate, b):
    with pytest.raises(ValueError, match="expected codes"):
        interpolate(torch.ones(3), b, 0.5)
    with pytest.raises(ValueError, match="t a number or"):
        interpolate(torch.ones(3), torch.ones(3), torch.ones(2, 2))


@pytest.mark.parametrize("b", [torch.zeros(3), torch.full((3,), torch.nan)])
def test_slerp_refuses_what_has_no_direction_and_names_lerp(b):
    with pytest.raises(ValueError, match="use lerp"):
        slerp(torch.ones(3), b, 0.5)
    with pytest.raises(ValueError, match="use lerp"):
        slerp(torch.ones(1), -torch.ones(1), 0.5)


@pytest.mark.parametrize("interpolate", [lerp, slerp])
def test_integer_codes_are_refused_because_the_path_would_be_rounded(interpolate):
    for a, b in ((torch.tensor([1, 0]), torch.tensor([0, 1])), (torch.ones(2), torch.arange(2))):
        with pytest.raises(ValueError, match="codes must be float"):
            interpolate(a, b, 0.5)


@pytest.mark.parametrize("interpolate", [lerp, slerp])
def test_arrays_are_codes_too(interpolate):
    a, b = codes(5)
    assert torch.equal(interpolate(a.numpy(), b.numpy(), T.numpy()), interpolate(a, b, T))


def test_path_length_adds_straight_pieces():
    assert path_length(torch.tensor([[0.0, 0.0], [3.0, 4.0], [3.0, 5.0]])) == pytest.approx(6)
    for points in (torch.ones(1, 2), torch.ones(5)):
        with pytest.raises(ValueError, match="two points or more"):
            path_length(points)


@pytest.mark.parametrize("n", [1, 2, 15])
def test_the_grid_has_the_quantiles_of_the_normal_with_the_top_row_highest(n):
    grid = normal_grid(n)
    quantiles = norm.ppf((np.arange(n) + 0.5) / n)
    assert grid.shape == (n, n, 2) and grid.dtype == torch.float32
    for k in range(n):
        np.testing.assert_allclose(grid[k, :, 0], quantiles, atol=1e-6)
        np.testing.assert_allclose(grid[:, k, 1], quantiles[::-1], atol=1e-6)


def test_each_cell_of_the_grid_holds_its_share_of_the_prior():
    n, draws = 5, torch.randn(100_000, 2, generator=torch.Generator().manual_seed(0))
    shares = norm.cdf(normal_grid(n)[0, :, 0].numpy())
    edges = norm.ppf((shares[1:] + shares[:-1]) / 2)
    counts = torch.histogramdd(
        draws, bins=[torch.tensor([-9, *edges, 9], dtype=torch.float32)] * 2
    ).hist / len(draws)
    assert (counts - 1 / n**2).abs().max() < 0.004  # 6 standard errors


@pytest.mark.parametrize("n", [0, -3, 1.5, 2.0, float("nan")])
def test_a_grid_without_whole_rows_is_refused(n):
    with pytest.raises(ValueError, match="at least one point a side"):
        normal_grid(n)
