"""Frozen classifiers that label generated images and whose features measure distances.

For real images they come with the kit; for a stand-in one is trained on the spot, in seconds.
"""

import torch
from torch import Tensor

from labkit import weights
from labkit.data import arithmetic
from labkit.data.images import ImageSet
from labkit.data.synthetic.geometry import smooth_noise
from labkit.models.classifier import Classifier
from labkit.training.classify import ClassifierSettings, accuracy, train_classifier

SETTINGS = {  # of the supplied ones; garments may be mirrored, digits may not
    "mnist": ClassifierSettings(epochs=6, shift_by=2),
    "fashion": ClassifierSettings(epochs=10, shift_by=1, mirror=True),
}
SYMBOL_SETTINGS, SYMBOL_IMAGES = ClassifierSettings(epochs=6), 72_000
QUICK_IMAGES = 12_000  # that a classifier of stand-ins is trained on


def classifier_for(images: ImageSet, say: bool = True) -> Classifier:
    """The frozen classifier of digits or garments; with `say`, prints its test accuracy."""
    if images.name not in SETTINGS:
        known = ", ".join(map(repr, SETTINGS))
        raise ValueError(f"there is no classifier for {images.name!r}; choose one of {known}")
    if images.is_stand_in:
        some = slice(QUICK_IMAGES)
        quick = ClassifierSettings(max(1, QUICK_IMAGES / len(images.train)))
        model = new_classifier(images.train[some], images.train_labels[some], quick)
    else:
        model = Classifier().requires_grad_(False)
        weights.load(f"classifier_{images.name}", model)
    if say:
        _say(model, images, images.title, images.test, images.test_labels)
    return model


def symbol_classifier_for(images: ImageSet, say: bool = True) -> Classifier:
    """The frozen classifier of the 13 symbols of arithmetic, for digits `images`."""
    if images.is_stand_in:
        bank = arithmetic.glyphs(images, "train")
        model = new_symbol_classifier(bank, QUICK_IMAGES, ClassifierSettings(epochs=1))
    else:
        model = Classifier(len(arithmetic.SYMBOLS)).requires_grad_(False)
        weights.load("classifier_symbols", model)
    if say:
        bank = arithmetic.glyphs(images, "test")
        _say(model, images, "the 13 symbols", bank.images, bank.labels)
    return model


def new_classifier(
    images: Tensor, labels: Tensor, settings: ClassifierSettings, classes: int = 10
) -> Classifier:
    """A classifier trained on uint8 images (N, 1, 28, 28), frozen, in eval mode."""
    with torch.random.fork_rng():  # leaves the caller's generator alone
        torch.manual_seed(settings.seed)
        model = Classifier(classes)
    return train_classifier(model, images, labels, settings).requires_grad_(False)


def new_symbol_classifier(
    bank: arithmetic.Glyphs, images: int, settings: ClassifierSettings
) -> Classifier:
    """A classifier of the 13 symbols, trained on `images` pictures, as many of each symbol."""
    generator = torch.Generator().manual_seed(settings.seed)
    classes = len(arithmetic.SYMBOLS)
    labels = torch.arange(classes).repeat(-(-images // classes))[:images]
    pictures = arithmetic.handwrite(labels[:, None], bank, generator)[:, 0]
    # half of the blanks carry a faint haze, as drawn answers do
    blanks = (labels == arithmetic.BLANK).nonzero()[::2, 0]
    strength = 12 * torch.rand(len(blanks), 1, 1, 1, generator=generator)
    haze = smooth_noise(len(blanks), 1, pictures.shape[-1], 4, generator).abs()
    pictures[blanks] = (strength * haze).clamp(0, 30).to(torch.uint8)
    return new_classifier(pictures, labels, settings, classes)


def _say(model: Classifier, source: ImageSet, of: str, images: Tensor, labels: Tensor) -> None:
    origin = "trained just now" if source.is_stand_in else "supplied with the kit"
    share = accuracy(model, images, labels)
    print(f"Classifier of {of}, {origin}: {share:.2%} of {len(images):,} test images right")
