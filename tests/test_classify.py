"""Training a classifier: it learns, repeats itself by seed, and shifts move pictures without
changing their size.
"""

from dataclasses import replace

import pytest
import torch

from labkit import weights
from labkit.models.classifier import Classifier
from labkit.training.classify import ClassifierSettings, accuracy, predict, shift, train_classifier

SETTINGS = ClassifierSettings(5, batch_size=32)


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


def trained(seed=0, **settings):
    return train_classifier(classifier(seed), *bars(192), replace(SETTINGS, seed=seed, **settings))


@pytest.fixture(scope="module")
def model():
    return trained()


def test_a_classifier_learns_what_is_easily_told_apart(model):
    images, labels = bars(100)
    assert accuracy(model, images, labels) == 1.0
    assert accuracy(model, images, 1 - labels) == 0.0
    assert accuracy(model, images, torch.zeros_like(labels)) == 0.5
    assert not model.training


def test_the_same_seed_gives_the_same_weights_and_another_does_not(model):
    before = torch.get_rng_state()
    again, other = trained(0), trained(1)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])
    assert not torch.equal(model.head[1].weight, other.head[1].weight)
    torch.set_rng_state(before)


def test_training_leaves_the_global_generator_alone():
    network = classifier()
    before = torch.get_rng_state()
    train_classifier(network, *bars(32), replace(SETTINGS, epochs=1))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "changed", [dict(lr=1e-3), dict(shift_by=0), dict(mirror=True), dict(batch_size=16)]
)
def test_every_setting_is_used(changed):
    plain, other = trained(epochs=1), trained(epochs=1, **changed)
    assert not torch.equal(plain.head[1].weight, other.head[1].weight)


def test_every_second_batch_is_mirrored_if_asked_for(monkeypatch):
    """What is drawn on the left half alone is seen on the right in every second batch."""
    images, seen = torch.zeros(64, 1, 28, 28, dtype=torch.uint8), []
    images[..., :10] = 255

    class Seen(Classifier):
        def forward(self, x):
            seen.append(x[..., :14].sum() > x[..., 14:].sum())
            return super().forward(x)

    plan = replace(SETTINGS, epochs=2, mirror=True, shift_by=0)
    train_classifier(Seen(2, 4, 8), images, torch.arange(64) % 2, plan)
    assert seen == [True, False, True, False]


def test_the_rate_rises_and_falls_over_the_whole_run(monkeypatch):
    rates, schedule = [], torch.optim.lr_scheduler.OneCycleLR

    def recorded(*arguments, **settings):
        made = schedule(*arguments, **settings)
        step = made.step
        made.step = lambda: (rates.append(made.get_last_lr()[0]), step())
        return made

    monkeypatch.setattr(torch.optim.lr_scheduler, "OneCycleLR", recorded)
    trained(epochs=5)
    assert len(rates) == 30 and max(rates) == pytest.approx(SETTINGS.lr, rel=0.02)
    assert 5 < rates.index(max(rates)) < 15 and rates[-1] < 0.02 * SETTINGS.lr


def test_a_loss_that_is_not_finite_stops_with_advice():
    with pytest.raises(FloatingPointError, match="smaller learning rate"):
        trained(epochs=1, lr=1e30)


def test_bytes_and_shares_of_one_are_the_same_picture(model):
    images, _ = bars(6)
    assert torch.allclose(predict(model, images), predict(model, images / 255), atol=1e-6)
    assert model.features(images).shape == (6, 8)


def test_prediction_does_not_depend_on_the_batches(model):
    images, _ = bars(7)
    assert torch.allclose(predict(model, images, batch_size=3), predict(model, images), atol=1e-5)
    assert predict(model, images).shape == (7, 2)


def test_fewer_images_than_a_batch_can_be_trained_on():
    plan = replace(SETTINGS, epochs=0.1, batch_size=128)
    assert isinstance(train_classifier(classifier(), *bars(10), plan), Classifier)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (bars(32)[0] / 255, bars(32)[1], "uint8"),
        (bars(32)[0], bars(31)[1], "32 images need as many labels"),
        (bars(32)[0][:0], bars(32)[1][:0], "there are 0"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(images, labels, message):
    with pytest.raises(ValueError, match=message):
        train_classifier(classifier(), images, labels, SETTINGS)


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


@pytest.mark.parametrize(
    ("name", "classes"),
    [("classifier_mnist", 10), ("classifier_fashion", 10), ("classifier_symbols", 13)],
)
def test_the_supplied_weights_fit_and_say_how_good_they_are(name, classes):
    facts = weights.load(name, Classifier(classes))
    assert facts["command"].endswith(f"labkit weights {name}")
    assert facts["measured"]["test_accuracy"] > 0.92
