"""Sharpness on images whose detail is known: waves, noise, blur."""

import math

import pytest
import torch

from labkit.metrics.sharpness import sharpness, sharpness_ratio


def wave(cycles_x, cycles_y, size=32):
    """A wave of amplitude ¼ with whole numbers of cycles a side."""
    y, x = torch.meshgrid(*[torch.arange(size, dtype=torch.float64) / size] * 2, indexing="ij")
    return (0.5 + 0.25 * torch.cos(2 * math.pi * (cycles_x * x + cycles_y * y)))[None, None]


def noise(n=200, size=16, seed=0):
    return torch.rand(n, 1, size, size, generator=torch.Generator().manual_seed(seed))


def blurred(images):
    return torch.nn.functional.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)


@pytest.mark.parametrize(
    ("cycles", "share"),
    [((3, 0), 0), ((0, 7), 0), ((9, 0), 1), ((6, 6), 1), ((5, 5), 0), ((16, 16), 1)],
)
def test_a_wave_is_high_or_low_by_its_radial_frequency(cycles, share):
    assert sharpness(wave(*cycles))["high_frequency"] == pytest.approx(
        share, abs=1e-9
    )  # the cut is at 8 of 32


def test_half_of_the_energy_in_a_high_wave_is_a_half():
    both = (wave(2, 0) + wave(0, 12)) / 2
    assert sharpness(both)["high_frequency"] == pytest.approx(0.5)


def test_the_laplacian_of_noise_has_twenty_times_its_variance():
    """Independent pixels of variance v: 4 v + 4² v; uniform ones have v = 1/12."""
    images = noise(size=64, n=50)
    assert sharpness(images)["laplacian"] == pytest.approx(20 / 12, rel=0.02)


def test_a_ramp_has_no_laplacian_and_a_flat_image_nothing():
    ramp = torch.linspace(0, 1, 20, dtype=torch.float64).expand(1, 1, 20, 20)
    assert sharpness(ramp)["laplacian"] == pytest.approx(0, abs=1e-20)
    assert sharpness(torch.full((3, 1, 9, 9), 0.3)) == {
        "laplacian": pytest.approx(0, abs=1e-12),
        "high_frequency": 0,
    }


def test_blur_lowers_both_and_contrast_the_laplacian_alone():
    images = noise()
    blur, pale = (
        sharpness_ratio(blurred(images), images),
        sharpness_ratio(0.5 + 0.5 * (images - 0.5), images),
    )
    assert blur["laplacian"] < 0.1 and blur["high_frequency"] < 0.5
    assert pale["laplacian"] == pytest.approx(0.25, rel=1e-5) and pale[
        "high_frequency"
    ] == pytest.approx(1, rel=1e-5)
    assert sharpness_ratio(images, images) == {"laplacian": 1, "high_frequency": 1}


def test_bytes_batches_and_colours_change_nothing():
    images = (noise(7) * 255).byte()
    expected = pytest.approx(sharpness(images), rel=1e-6)
    assert sharpness(images.float() / 255) == expected
    assert sharpness(images, batch_size=2) == expected
    assert sharpness(images.expand(-1, 3, -1, -1)) == expected


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(4, 28, 28),
        torch.zeros(0, 1, 8, 8),
        torch.zeros(1, 1, 2, 8),
        torch.full((1, 1, 8, 8), -1.0),
    ],
)
def test_what_is_no_image_is_refused(images):
    with pytest.raises(ValueError, match="expected"):
        sharpness(images)


def test_flat_real_images_are_no_scale():
    with pytest.raises(ValueError, match="real images are flat"):
        sharpness_ratio(noise(), torch.zeros(3, 1, 16, 16))
