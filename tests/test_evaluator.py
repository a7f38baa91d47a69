"""The yardstick: real images score like real images, damage of each kind shows in the number that
is meant for it.
"""

import pytest
import torch
import torch.nn.functional as F

from labkit.data import synthetic
from labkit.metrics.evaluator import Evaluator, evenly_spaced
from labkit.models import Classifier


@pytest.fixture(scope="module")
def drawn():
    return synthetic.digits(1200, seed=0)


@pytest.fixture(scope="module")
def yardstick(drawn):
    torch.manual_seed(0)
    return Evaluator(Classifier().eval().requires_grad_(False), drawn.images[:600], n_near=400)


def test_real_images_against_themselves_are_perfect(yardstick, drawn):
    score = yardstick.score(drawn.images[:600])
    assert score["percent"] < 1e-6 and score["uneven"] == 0
    assert score["precision"] == score["recall"] == score["coverage"] == 1 and score[
        "laplacian"
    ] == pytest.approx(1)


def test_other_real_images_are_close_and_noise_is_not(yardstick, drawn):
    real, noise = (
        yardstick.score(drawn.images[600:]),
        yardstick.score(torch.randint(0, 256, (600, 1, 28, 28), dtype=torch.uint8)),
    )
    assert real["percent"] < noise["percent"] / 5 and real["KID"] < noise["KID"]
    assert real["coverage"] > 0.7 > 0.1 > noise["coverage"]


def test_blur_shows_in_sharpness_and_a_missing_kind_in_recall(yardstick, drawn):
    kernel = torch.ones(1, 1, 5, 5) / 25
    blurred = F.conv2d(drawn.images[600:].float(), kernel, padding=2).round().byte()
    assert yardstick.score(blurred)["laplacian"] < 0.3
    one_image = drawn.images[600:601].expand(600, -1, -1, -1)
    narrow = yardstick.score(one_image)
    assert (
        narrow["recall"] < 0.1
        and narrow["coverage"] < 0.1 < narrow["precision"]
        and narrow["classes"] == 1
    )


def test_a_part_is_taken_from_all_of_a_set():
    assert evenly_spaced(torch.arange(10), 5).tolist() == [0, 2, 4, 6, 8] and evenly_spaced(
        torch.arange(10), 4
    ).tolist() == [0, 2, 4, 6]
    assert evenly_spaced(torch.arange(3), 5).tolist() == [0, 1, 2]


def test_percent_is_of_the_real_variance(yardstick, drawn):
    distance = yardstick.distance(drawn.images[600:])
    assert distance["percent"] == pytest.approx(
        100 * distance["frechet"] / yardstick.features.double().var(0).sum().item()
    )
