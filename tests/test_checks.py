"""Metrics refuse what cannot be scored: every one of them, with the reason."""

import shutil

import pytest
import torch

from labkit import weights
from labkit.data.images import ImageSet
from labkit.metrics.checks import check_images, unit_range
from labkit.metrics.frechet import frechet_distance, frechet_infinity
from labkit.metrics.kid import kid
from labkit.metrics.prdc import prdc
from labkit.pretrained import classifier_for

OF_FEATURES = {
    "frechet_distance": frechet_distance,
    "frechet_infinity": frechet_infinity,
    "kid": lambda x, y: kid(x, y, subsets=2, size=100),
    "prdc": prdc,
}


def features(n=100, d=4, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", OF_FEATURES)
def test_sound_features_are_scored(name):
    assert OF_FEATURES[name](features(), features(seed=1)) is not None


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("name", OF_FEATURES)
def test_values_that_are_not_finite_are_refused_with_their_place(name, place, bad):
    pair = [features(), features(seed=1)]
    pair[place][[7, 30], 2] = bad
    with pytest.raises(
        ValueError,
        match=f"2 of 100 rows of the {['first', 'second'][place]} features hold NaN or infinite .* row 7",
    ):
        OF_FEATURES[name](*pair)


@pytest.mark.parametrize("name", OF_FEATURES)
def test_features_of_two_readers_are_refused(name):
    with pytest.raises(
        ValueError, match=r"\(100, 4\) and \(100, 5\); make both with the same classifier"
    ):
        OF_FEATURES[name](features(), features(d=5))


@pytest.mark.parametrize("name", OF_FEATURES)
def test_too_few_samples_are_refused_with_the_number_needed(name):
    with pytest.raises(
        ValueError,
        match=r"N = 3, M = 100, D = 4: \d+ or more of each are needed \(.+\); draw more samples",
    ):
        OF_FEATURES[name](features(3), features())


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        (torch.zeros(3, 28, 28), r"expected images \(N, 1, H, W\)"),
        (torch.zeros(3, 2, 28, 28), r"expected images \(N, 1, H, W\)"),
        (torch.zeros(3, 1, 8, 8, dtype=torch.int64), "got torch.int64"),
        (torch.full((1, 1, 8, 8), -1.0), r"in \[0, 1\], got -1 to -1; a tanh"),
        (torch.full((1, 1, 8, 8), 255.0), "got 255 to 255"),
        (torch.full((1, 1, 8, 8), float("nan")), "got nan"),
    ],
)
def test_what_is_no_image_is_refused(images, reason):
    with pytest.raises(ValueError, match=reason):
        check_images(images)


def test_bytes_and_floats_of_one_image_are_the_same():
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    assert torch.equal(unit_range(images), unit_range(images.float() / 255))


def test_a_reader_that_is_not_the_recorded_one_measures_nothing(tmp_path, monkeypatch):
    shipped = weights.folder()
    for end in ("pt", "json"):
        shutil.copy(shipped / f"classifier_mnist.{end}", tmp_path)
    monkeypatch.setattr(weights, "folder", lambda: tmp_path)
    digits = torch.zeros(2, 1, 28, 28, dtype=torch.uint8)
    images = ImageSet(
        "mnist",
        "MNIST",
        "LABKIT_DATA",
        digits,
        digits,
        torch.zeros(2).long(),
        torch.zeros(2).long(),
        list("0123456789"),
    )
    assert not classifier_for(images, say=False).training
    content = bytearray((tmp_path / "classifier_mnist.pt").read_bytes())
    content[len(content) // 2] ^= 1  # one bit of one weight
    (tmp_path / "classifier_mnist.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"classifier_mnist\.pt has the sha256 .*, expected"):
        classifier_for(images, say=False)
