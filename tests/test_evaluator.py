"""The evaluator: real images score like real images, and each kind of damage shows in its score."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from labkit.data import synthetic
from labkit.models import Classifier
from labkit.studies.evaluator import Evaluator, evenly_spaced


@pytest.fixture(scope="module")
def drawn():
    return synthetic.digits(1200, seed=0)


@pytest.fixture(scope="module")
def evaluator(drawn):
    torch.manual_seed(0)
    return Evaluator(Classifier().eval().requires_grad_(False), drawn.images[:600], n_near=400)


def test_real_images_against_themselves_are_perfect(evaluator, drawn):
    score = evaluator.score(drawn.images[:600])
    assert score["percent"] < 1e-6 and score["uneven"] == 0
    assert score["precision"] == score["recall"] == score["coverage"] == 1 and score[
        "laplacian"
    ] == pytest.approx(1)


def test_other_real_images_are_close_and_noise_is_not(evaluator, drawn):
    real, noise = (
        evaluator.score(drawn.images[600:]),
        evaluator.score(torch.randint(0, 256, (600, 1, 28, 28), dtype=torch.uint8)),
    )
    assert real["percent"] < noise["percent"] / 5 and real["KID"] < noise["KID"]
    assert real["coverage"] > 0.7 > 0.1 > noise["coverage"]


def test_blur_shows_in_sharpness_and_a_missing_kind_in_recall(evaluator, drawn):
    kernel = torch.ones(1, 1, 5, 5) / 25
    blurred = F.conv2d(drawn.images[600:].float(), kernel, padding=2).round().byte()
    assert evaluator.score(blurred)["laplacian"] < 0.3
    one_image = drawn.images[600:601].expand(600, -1, -1, -1)
    narrow = evaluator.score(one_image)
    assert (
        narrow["recall"] < 0.1
        and narrow["coverage"] < 0.1 < narrow["precision"]
        and narrow["classes"] == 1
    )


def test_a_part_is_taken_from_all_of_a_set():
    """Steps are equal but for rounding, from the first item to a step before the end."""
    for m in range(1, 40):
        for n in range(1, m + 3):
            part = evenly_spaced(torch.arange(m), n)
            assert len(part) == min(m, n) and part[0] == 0 and part[-1] >= m - -(-m // n)
            assert part.diff().numel() == 0 or part.diff().max() - part.diff().min() <= 1
    with pytest.raises(ValueError, match="n must be a whole number"):
        evenly_spaced(torch.arange(3), 0)


def test_generated_images_are_taken_from_all_of_their_set(evaluator, drawn):
    """The first 400 of 800 are real images and the rest noise: half of a fair sample is bad."""
    noise = torch.randint(0, 256, (400, 1, 28, 28), dtype=torch.uint8)
    score = evaluator.score(torch.cat([drawn.images[:400], noise]))
    assert score["precision"] == pytest.approx(0.5, abs=0.05)
    assert score["laplacian"] > 2


def test_the_sharpness_of_colour_photographs_is_scored():
    """Any classifier with features and a head will do, for images of any size and channels."""
    torch.manual_seed(0)

    class Colours(nn.Module):
        head = nn.Linear(6, 2)

        def features(self, x):
            return torch.cat([x.float().mean((2, 3)), x.float().std((2, 3))], dim=1) / 255

    images = torch.randint(0, 256, (60, 3, 64, 64), dtype=torch.uint8)
    score = Evaluator(Colours(), images).score(images)
    assert score["percent"] < 1e-6 and score["laplacian"] == score["high_frequency"] == 1


def test_percent_is_of_the_real_variance(evaluator, drawn):
    distance = evaluator.distance(drawn.images[600:])
    assert distance["percent"] == pytest.approx(
        100 * distance["frechet"] / evaluator.features.double().var(0).sum().item()
    )
