"""The optional Inception features: named as what they are, lazily imported, and a clear word when
the weights cannot be had.
"""

import subprocess
import sys
from urllib.error import URLError

import pytest
import torch
from torch import nn

from labkit.metrics.inception import distance_of_images, inception, inception_features


def test_offline_the_error_says_where_to_put_the_file(monkeypatch):
    def fail(**kwargs):
        raise URLError("no network")

    monkeypatch.setattr("torchvision.models.inception_v3", fail)
    with pytest.raises(
        OSError,
        match=r"no network.*connect to the internet, or put inception_v3_\S+\.pth into .*checkpoints, or .*reader",
    ):
        inception()


def test_a_broken_download_is_told_likewise(monkeypatch):
    def fail(**kwargs):
        raise RuntimeError("invalid hash value")

    monkeypatch.setattr("torchvision.models.inception_v3", fail)
    with pytest.raises(OSError, match="invalid hash value"):
        inception()


@pytest.fixture
def untrained(monkeypatch):
    """torchvision's network with its own preprocessing and random weights."""
    from torchvision.models import inception_v3

    def build(weights):
        torch.manual_seed(0)
        return inception_v3(weights=None, transform_input=True, init_weights=False)

    with torch.random.fork_rng():
        monkeypatch.setattr("torchvision.models.inception_v3", build)
        yield


def test_features_are_2048_and_do_not_depend_on_type_or_batch(untrained):
    images = torch.randint(
        0, 256, (3, 1, 28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    network = inception()
    features = inception_features(network, images)
    assert features.shape == (3, 2048) and not network.training
    assert (features[0] - features[1]).norm() > 1e-3 * features[0].norm()  # they are of the images
    assert not any(p.requires_grad for p in network.parameters())
    torch.testing.assert_close(
        inception_features(network, images.float().expand(-1, 3, -1, -1) / 255, batch_size=2),
        features,
    )


def test_so_few_images_are_refused(untrained):
    images = torch.zeros(2, 1, 28, 28, dtype=torch.uint8)
    with pytest.raises(ValueError, match="D = 2048: 2049 or more"):
        distance_of_images(images, images, "inception")


class Pixels(nn.Module):
    """A reader of four pixels."""

    classifier = nn.Identity()

    def features(self, x):
        return x.flatten(1)[:, :4].float() / 255


def test_the_score_carries_the_name_of_its_features():
    images = torch.randint(
        0, 256, (40, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    assert distance_of_images(images, images, Pixels()) == {
        "classifier Fréchet distance": pytest.approx(0, abs=1e-9)
    }
    with pytest.raises(ValueError, match="a reader or \"inception\", got 'FID'"):
        distance_of_images(images, images, "FID")


def test_torchvision_is_imported_only_when_asked_for():
    code = "import sys, labkit.metrics.inception; sys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
