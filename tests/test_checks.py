"""Metrics refuse what cannot be scored: every one of them, with the reason."""

import shutil

import numpy as np
import pytest
import torch

from labkit import folders
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


@pytest.mark.parametrize("name", OF_FEATURES)
def test_arrays_are_scored_as_tensors_are(name):
    x, y = features(), features(seed=1)
    assert OF_FEATURES[name](x.numpy(), y.numpy()) == OF_FEATURES[name](x, y)


@pytest.mark.parametrize("name", OF_FEATURES)
def test_half_precision_is_only_rounded_and_types_may_be_mixed(name):
    """Sums of cubes overflow float16 beyond 65,504; the scores must not be computed in it."""
    x, y = 30 * features(), 30 * features(seed=1)
    expected = OF_FEATURES[name](x.half().float(), y.half().float())
    assert OF_FEATURES[name](x.half(), y.half()) == expected
    if name == "kid":
        assert abs(expected.mean) > 65_504 and OF_FEATURES[name](x.half(), y).mean < np.inf
    else:
        assert OF_FEATURES[name](x.half(), y) is not None


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("name", OF_FEATURES)
def test_values_that_are_not_finite_are_refused_with_their_place(name, place, bad):
    pair = [features(), features(seed=1)]
    pair[place][[7, 30], 2] = bad
    which = ["first", "second"][place]
    reason = f"2 of 100 rows of the {which} features, e.g. row 7, hold NaN or infinite"
    with pytest.raises(ValueError, match=reason):
        OF_FEATURES[name](*pair)


@pytest.mark.parametrize("name", OF_FEATURES)
def test_features_of_two_classifiers_are_refused(name):
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
        (torch.zeros(3, 28, 28), r"expected images \(N, 1 or 3, H, W\)"),
        (torch.zeros(3, 2, 28, 28), r"expected images \(N, 1 or 3, H, W\)"),
        (torch.zeros(3, 1, 8, 8, dtype=torch.int64), "got torch.int64"),
        (torch.full((1, 1, 8, 8), -1.0), r"in \[0, 1\], got -1 to -1; .* tanh"),
        (torch.full((1, 1, 8, 8), 255.0), "got 255 to 255"),
        (torch.full((1, 1, 8, 8), float("nan")), "got nan"),
        (np.zeros((3, 1, 8, 8), dtype=np.uint8), "use torch.from_numpy"),
    ],
)
def test_what_is_no_image_is_refused(images, reason):
    with pytest.raises(ValueError, match=reason):
        check_images(images)


def test_bytes_and_floats_of_one_image_are_the_same():
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    assert torch.equal(unit_range(images), unit_range(images.float() / 255))


def test_a_classifier_that_is_not_the_recorded_one_measures_nothing(tmp_path, monkeypatch):
    shipped = folders.weights()
    for end in ("pt", "json"):
        shutil.copy(shipped / f"classifier_mnist.{end}", tmp_path)
    monkeypatch.setattr(folders, "weights", lambda: tmp_path)
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
