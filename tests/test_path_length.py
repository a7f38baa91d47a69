"""Perceptual path length where it can be worked out by hand: linear decoders."""

import math

import pytest
import torch
from torch import nn

from labkit.latent import lerp
from labkit.models import Classifier
from labkit.studies.path_length import perceptual_path_length


def linear(matrix):
    """A decoder to grey images 0.5 + 0.01 z·matrix, one pixel a column."""
    return lambda z: (0.5 + 0.01 * z @ matrix)[:, None, None]


def flat(images):
    return 100 * images.flatten(1)


def test_straight_lines_through_a_linear_decoder():
    """Speed (b − a)A, and E‖(b − a)A‖² = 2 ‖A‖²_F."""
    matrix = torch.randn(6, 9, generator=torch.Generator().manual_seed(0))
    mean, error = perceptual_path_length(linear(matrix), flat, 6, n=3000, way=lerp)
    assert abs(mean - 2 * matrix.square().sum().item()) < 4 * error < 0.2 * mean


def test_great_circles_in_many_dimensions_turn_by_a_right_angle():
    """Codes of about one length √Z, nearly at right angles: speed √Z · π/2."""
    mean, error = perceptual_path_length(linear(torch.eye(200)), flat, 200, n=300)
    assert mean == pytest.approx(200 * (math.pi / 2) ** 2, rel=0.02) and error < 0.02 * mean


def test_steps_of_another_size_measure_the_same():
    bent = lambda z: torch.sigmoid(z @ torch.linspace(-1, 1, 32).reshape(4, 8))[:, None, None]  # noqa: E731
    lengths = [
        perceptual_path_length(bent, flat, 4, n=500, epsilon=e)[0] for e in (1e-2, 1e-3, 1e-4)
    ]
    assert lengths == pytest.approx([lengths[1]] * 3, rel=0.02)


def test_a_steeper_decoder_has_longer_paths_and_a_constant_one_none():
    lengths = [
        perceptual_path_length(lambda z, s=s: torch.sigmoid(s * z)[:, None, None], flat, 8, n=500)[
            0
        ]
        for s in (0.0, 1.0, 5.0)
    ]
    assert lengths[0] == 0 < 2 * lengths[1] < lengths[2]


def test_it_is_repeatable_and_does_not_depend_on_the_batches():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        decoder, classifier = (
            nn.Sequential(nn.Linear(5, 784), nn.Sigmoid(), nn.Unflatten(1, (1, 28, 28))),
            Classifier().eval(),
        )
    first = perceptual_path_length(decoder, classifier.features, 5, n=30, epsilon=1e-2)
    assert perceptual_path_length(
        decoder, classifier.features, 5, n=30, epsilon=1e-2, batch_size=7
    ) == pytest.approx(first, rel=1e-3)
    assert (
        perceptual_path_length(decoder, classifier.features, 5, n=30, epsilon=1e-2, seed=1) != first
    )


@pytest.mark.parametrize(
    ("draw", "reason"),
    [
        (lambda z: torch.zeros(len(z), 1, 4, 4, dtype=torch.uint8), "uint8 images do not show"),
        (lambda z: torch.full((len(z), 1, 4, 4), -1.0), r"in \[0, 1\]"),
        (lambda z: torch.zeros(len(z), 16), "expected images"),
    ],
)
def test_what_cannot_be_measured_is_refused(draw, reason):
    with pytest.raises(ValueError, match=reason):
        perceptual_path_length(draw, flat, 3, n=10)


@pytest.mark.parametrize("setting", [dict(n=1), dict(epsilon=0.0), dict(epsilon=-1e-3)])
def test_no_length_without_pairs_or_steps(setting):
    with pytest.raises(ValueError, match="n is 2 or more and epsilon in"):
        perceptual_path_length(linear(torch.eye(4)), flat, 4, **setting)


def test_features_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="10 of 10 path lengths are not finite"):
        perceptual_path_length(
            linear(torch.eye(4)), lambda images: flat(images) * torch.inf, 4, n=10
        )
