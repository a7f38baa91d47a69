"""With the real images: counts, sources, and how far reading learned on the stand-ins carries over
to them, and back.
"""

import os
from dataclasses import replace

import pytest
import torch

from labkit import folders, pretrained, weights
from labkit.data import arithmetic, images, load
from labkit.metrics.class_balance import classify, describe
from labkit.models import draw
from labkit.models.classifier import Classifier
from labkit.models.gan import Generator
from labkit.models.vae import linear_vae
from labkit.studies import classifiers, latent_grid
from labkit.training.classify import ClassifierSettings, accuracy, train_classifier
from labkit.training.vae import evaluate

BAND = 0.0015  # the test accuracy of another seed or machine is within this of the supplied one's

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(
        not os.environ.get("LABKIT_DATA"),
        reason="needs the real images: set LABKIT_DATA to a folder that has them",
    ),
]


@pytest.fixture(scope="module")
def real():
    return {name: load(name) for name in images.SETS}


@pytest.fixture(scope="module")
def stand_in():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folders, "image_folders", lambda: [])
        return {name: load(name, download=False) for name in ("mnist", "fashion")}


@pytest.fixture(scope="module")
def right_after():
    """A function: accuracy on `test` of a classifier that saw each image of `train` once."""

    def measure(train, test):
        torch.manual_seed(0)
        model = train_classifier(
            Classifier(), train.train, train.train_labels, ClassifierSettings(epochs=1)
        )
        return accuracy(model, test.test, test.test_labels)

    return measure


@pytest.mark.parametrize(
    ("name", "on_real", "on_stand_in"), [("mnist", 0.92, 0.97), ("fashion", 0.60, 0.75)]
)
def test_reading_carries_over_between_the_stand_ins_and_the_real_images(
    real, stand_in, right_after, name, on_real, on_stand_in
):
    assert (
        len(stand_in[name].train) == 60_000
        and len(stand_in[name].test) == 10_000
        and stand_in[name].is_stand_in
    )
    there, back = right_after(stand_in[name], real[name]), right_after(real[name], stand_in[name])
    print(f"{name}: stand-in -> real {there:.4f} ({on_real}), back {back:.4f} ({on_stand_in})")
    assert there >= on_real and back >= on_stand_in


@pytest.mark.parametrize("name", ["mnist", "fashion"])
def test_what_is_stated_of_the_shipped_weights_holds(real, name):
    found, classifier, generator, vae = real[name], Classifier(), Generator(), linear_vae(2)
    stated = weights.load(f"classifier_{name}", classifier)["measured"]
    assert accuracy(classifier, found.test, found.test_labels) == pytest.approx(
        stated["test_accuracy"], abs=3e-4
    )
    stated = weights.load(f"gan_{name}", generator)["measured"]
    z = torch.randn(10_000, generator.latent_dim, generator=torch.Generator().manual_seed(2))
    measured = describe(classifier, draw(generator, z), classify(classifier, found.test)[0])
    assert measured["frechet"] == pytest.approx(stated["frechet"], rel=0.03)
    assert measured["rarest"] == pytest.approx(stated["rarest"], abs=0.003)
    stated = weights.load(f"vae_{name}", vae)["measured"]
    assert evaluate(vae, found.test).negative_elbo.mean().item() == pytest.approx(
        stated["test_negative_elbo"], abs=0.5
    )


def test_what_is_stated_of_the_beta_vaes_holds(real):
    models = latent_grid.beta_vaes()
    stated = weights.load("beta_vaes_mnist", models)["measured"]
    for model in models:
        terms = evaluate(model, real["mnist"].test)
        for name in ("reconstruction", "kl"):
            expected = stated[f"{name} at β = {model.beta}"]
            assert getattr(terms, name).mean().item() == pytest.approx(expected, abs=0.5)


def test_a_classifier_trained_anew_for_less_is_almost_as_good_as_the_supplied_one(real):
    digits, settings = real["mnist"], replace(pretrained.SETTINGS["mnist"], epochs=2, seed=7)
    model = pretrained.new_classifier(digits.train, digits.train_labels, settings)
    again = accuracy(model, digits.test, digits.test_labels)
    supplied = weights.load("classifier_mnist", Classifier())["measured"]["test_accuracy"]
    print(f"MNIST classifier, seed {settings.seed}: {again:.4f}, supplied {supplied:.4f}")
    assert supplied - 0.01 < again < supplied + BAND


def test_what_is_stated_of_the_classifier_of_symbols_holds(real):
    classifier, bank = Classifier(len(arithmetic.SYMBOLS)), arithmetic.glyphs(real["mnist"], "test")
    stated = weights.load("classifier_symbols", classifier)["measured"]
    for symbol, share in classifiers.symbol_accuracy(classifier, bank).items():
        assert share == pytest.approx(
            stated[f"test_accuracy {symbol.replace(' ', 'blank')}"], abs=3e-3
        )
    assert accuracy(classifier, bank.images, bank.labels) == pytest.approx(
        stated["test_accuracy"], abs=3e-4
    )
