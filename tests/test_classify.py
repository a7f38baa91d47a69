"""Training a classifier: it learns, repeats itself by seed, and shifts move pictures without changing
their size.
"""

import pytest
import torch

from labkit.models.classifier import Classifier
from labkit.training.classify import accuracy, predict, shift, train_classifier


def bars(n):
    """Images (n, 1, 28, 28) of a lying (class 0) or standing (class 1) bar with noise, and labels:
    told apart by orientation alone.
    """
    generator = torch.Generator().manual_seed(n)
    labels = torch.arange(n) % 2
    images = torch.randint(40, (n, 1, 28, 28), generator=generator).byte()
    images[labels == 0, :, 12:16, 4:24] = 220
    images[labels == 1, :, 4:24, 12:16] = 220
    return images, labels


def classifier(seed=0):
    torch.manual_seed(seed)
    return Classifier(classes=2, width=4, feature_dim=8)


def trained(seed):
    torch.manual_seed(seed)
    return train_classifier(classifier(seed), *bars(192), epochs=5, seed=seed, batch_size=32)


@pytest.fixture(scope="module")
def model():
    return trained(0)


def test_a_reader_learns_what_is_easily_told_apart(model):
    images, labels = bars(100)
    assert accuracy(model, images, labels) == 1.0
    assert accuracy(model, images, 1 - labels) == 0.0
    assert accuracy(model, images, torch.zeros_like(labels)) == 0.5
    assert not model.training


def test_the_same_seed_gives_the_same_weights_and_another_does_not(model):
    again, other = trained(0), trained(1)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])
    assert not torch.equal(model.classifier[1].weight, other.classifier[1].weight)


def test_bytes_and_shares_of_one_are_the_same_picture(model):
    images, _ = bars(6)
    assert torch.allclose(predict(model, images), predict(model, images / 255), atol=1e-6)
    assert model.features(images).shape == (6, 8)


def test_prediction_does_not_depend_on_the_batches(model):
    images, _ = bars(7)
    assert torch.allclose(predict(model, images, batch_size=3), predict(model, images), atol=1e-5)
    assert predict(model, images).shape == (7, 2)


def test_fewer_images_than_a_batch_can_be_trained_on():
    assert isinstance(train_classifier(classifier(), *bars(10), epochs=0.1, seed=0), Classifier)


def test_a_shift_moves_all_by_one_offset_and_lets_black_in():
    images = torch.zeros(3, 1, 9, 11, dtype=torch.uint8)
    images[:, :, 4, 5] = 200
    generator = torch.Generator().manual_seed(0)
    offsets = set()
    for _ in range(200):
        moved = shift(images, 2, generator)
        assert moved.shape == images.shape and moved.dtype == images.dtype
        (place,) = {
            tuple(place) for place in moved.nonzero()[:, 2:].tolist()
        }  # the same in the whole batch
        offsets.add((place[0] - 4, place[1] - 5))
    assert offsets == {(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)}
    full = torch.full((1, 1, 9, 11), 255, dtype=torch.uint8)
    assert min(shift(full, 2, generator).float().mean() for _ in range(20)) < 255
    assert torch.equal(shift(images, 0, generator), images)
