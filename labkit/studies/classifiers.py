"""The supplied classifiers that judge generated images: how they were made, what they score."""

from functools import partial

from labkit import pretrained, weights
from labkit.data import arithmetic
from labkit.data.images import load
from labkit.models.classifier import Classifier
from labkit.training.classify import accuracy, predict


def make(name: str) -> dict[str, float]:
    """Train the classifier of the set `name` on real images and write its weights."""
    images = load(name).require_published()
    settings = pretrained.SETTINGS[name]
    model = pretrained.new_classifier(images.train, images.train_labels, settings)
    measured = {"test_accuracy": accuracy(model, images.test, images.test_labels)}
    weights.save(
        f"classifier_{name}",
        model,
        data=images.title,
        seed=settings.seed,
        command=f"python -m labkit weights classifier_{name}",
        measured=measured,
    )
    return measured


def make_symbols() -> dict[str, float]:
    """Train the classifier of the 13 symbols on MNIST's training half and write its weights."""
    images, settings = load("mnist").require_published(), pretrained.SYMBOL_SETTINGS
    train, test = (arithmetic.glyphs(images, half) for half in ("train", "test"))
    model = pretrained.new_symbol_classifier(train, pretrained.SYMBOL_IMAGES, settings)
    each = symbol_accuracy(model, test).items()
    measured = {"test_accuracy": accuracy(model, test.images, test.labels)}
    measured |= {f"test_accuracy {name.replace(' ', 'blank')}": v for name, v in each}
    weights.save(
        "classifier_symbols",
        model,
        data=images.title,
        seed=settings.seed,
        command="python -m labkit weights classifier_symbols",
        measured=measured,
    )
    return measured


def symbol_accuracy(classifier: Classifier, bank: arithmetic.Glyphs) -> dict[str, float]:
    """Symbol → share of the bank's pictures of it that are classified right, in [0, 1]."""
    right = (predict(classifier, bank.images).argmax(1) == bank.labels).double()
    parts = zip(arithmetic.SYMBOLS, right.split(bank.count.tolist()), strict=True)
    return {symbol: part.mean().item() for symbol, part in parts}


WEIGHTS = {f"classifier_{name}": partial(make, name) for name in pretrained.SETTINGS}
WEIGHTS |= {"classifier_symbols": make_symbols}
