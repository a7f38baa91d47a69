"""The kit's classifiers: the frozen classifiers that label generated images and whose features measure
distances between sets of images.

python -m labkit weights classifier_mnist       trains one anew and writes data/weights/classifier_mnist.pt
and .json
python -m labkit weights classifier_symbols     the one that knows +, − and the blank besides the digits
"""

import torch

from labkit import weights
from labkit.data import arithmetic
from labkit.data.images import ImageSet, load
from labkit.data.synthetic.geometry import smooth_noise
from labkit.models.classifier import Classifier
from labkit.training.classify import accuracy, predict, train_classifier

RECIPES = {  # of the shipped classifiers; garments may be mirrored, digits may not
    "mnist": dict(epochs=6, shift_by=2, mirror=False, batch_size=128, lr=3e-3),
    "fashion": dict(epochs=10, shift_by=1, mirror=True, batch_size=128, lr=3e-3),
}
SYMBOLS = dict(
    images=72_000, epochs=6, shift_by=2, batch_size=128, lr=3e-3
)  # as many pictures of each symbol
BAND = (
    0.0015  # test accuracy of another seed or machine lies within this of the shipped classifier's
)
IMAGES_ON_THE_FLY = 12_000  # for stand-ins: a few seconds of training


def train_image_classifier(
    images: ImageSet, seed: int = 0, show: bool = False, **recipe
) -> Classifier:
    """A Classifier trained on `images.train`, frozen, in eval mode; `recipe` as train_classifier takes
    it.
    """
    with torch.random.fork_rng():  # leaves the caller's generator alone
        torch.manual_seed(seed)
        classifier = train_classifier(
            Classifier(), images.train, images.train_labels, seed=seed, show=show, **recipe
        )
    return classifier.requires_grad_(False)


def classifier_for(images: ImageSet, say: bool = True) -> Classifier:
    """The frozen classifier of a set of digits or garments: the shipped one for real images, one
    trained on the spot for a stand-in.

    With `say`, prints which it is and what it reads of the test images, which neither has been
    trained on. Raises ValueError for a set without a classifier (cats have one class).
    """
    if images.name not in RECIPES:
        raise ValueError(
            f"there is no classifier for {images.name!r}; choose one of {', '.join(map(repr, RECIPES))}"
        )
    if images.is_stand_in:
        origin = "trained just now"
        classifier = train_image_classifier(
            images, **{**RECIPES[images.name], "epochs": IMAGES_ON_THE_FLY / len(images.train)}
        )
    else:
        origin = "supplied with the kit"
        classifier = Classifier()
        weights.load(f"classifier_{images.name}", classifier)
        classifier.requires_grad_(False)
    if say:
        share = accuracy(classifier, images.test, images.test_labels)
        print(
            f"Classifier of {images.title}, {origin}: reads {share:.2%} of {len(images.test):,} test images"
        )
    return classifier


def make_classifier(name: str, seed: int = 0) -> dict:
    """Train the classifier of the set `name` on real images and ship it; returns what was measured."""
    images = load(name)
    if images.is_stand_in:
        raise FileNotFoundError(
            f"the real {images.title} is needed; set LABKIT_DATA to a folder that holds it"
        )
    classifier = train_image_classifier(images, seed, show=True, **RECIPES[name])
    measured = {"test_accuracy": accuracy(classifier, images.test, images.test_labels)}
    weights.save(
        f"classifier_{name}",
        classifier,
        data=images.title,
        seed=seed,
        command=f"python -m labkit weights classifier_{name}",
        measured=measured,
    )
    return measured


def train_symbol_classifier(
    bank: arithmetic.Glyphs, images: int, seed: int = 0, show: bool = False, **recipe
) -> Classifier:
    """A Classifier of the 13 symbols of arithmetic, frozen, trained on `images` pictures from `bank`,
    as many of each symbol.

    Half of the blanks carry a faint haze, as drawn answers do, so that a blank need not be
    perfectly black.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(arithmetic.SYMBOLS)).repeat(-(-images // len(arithmetic.SYMBOLS)))[
        :images
    ]
    pictures = arithmetic.handwrite(labels[:, None], bank, generator)[:, 0]
    blanks = (labels == arithmetic.BLANK).nonzero()[::2, 0]
    strength = 12 * torch.rand(len(blanks), 1, 1, 1, generator=generator)
    pictures[blanks] = (
        (strength * smooth_noise(len(blanks), 1, pictures.shape[-1], 4, generator).abs())
        .clamp(0, 30)
        .to(torch.uint8)
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        classifier = train_classifier(
            Classifier(len(arithmetic.SYMBOLS)), pictures, labels, seed=seed, show=show, **recipe
        )
    return classifier.requires_grad_(False)


def symbol_classifier_for(images: ImageSet, say: bool = True) -> Classifier:
    """The frozen classifier of the 13 symbols: the shipped one for MNIST, one trained on the spot for
    its stand-in; `say` as for classifier_for.
    """
    if images.is_stand_in:
        origin = "trained just now"
        classifier = train_symbol_classifier(
            arithmetic.glyphs(images, "train"),
            **{**SYMBOLS, "images": IMAGES_ON_THE_FLY, "epochs": 1},
        )
    else:
        origin = "supplied with the kit"
        classifier = Classifier(len(arithmetic.SYMBOLS))
        weights.load("classifier_symbols", classifier)
        classifier.requires_grad_(False)
    if say:
        bank = arithmetic.glyphs(images, "test")
        share = accuracy(classifier, bank.images, bank.labels)
        print(
            f"Classifier of the 13 symbols, {origin}: reads {share:.2%} of {len(bank.images):,} test pictures"
        )
    return classifier


def symbol_accuracy(classifier: Classifier, bank: arithmetic.Glyphs) -> dict[str, float]:
    """Share of the bank's pictures that are read right, in [0, 1], for each symbol."""
    right = (predict(classifier, bank.images).argmax(1) == bank.labels).double()
    return {
        symbol: part.mean().item()
        for symbol, part in zip(arithmetic.SYMBOLS, right.split(bank.count.tolist()), strict=True)
    }


def make_symbol_classifier(seed: int = 0) -> dict:
    """Train the classifier of the symbols on MNIST's training half and ship it; returns what was
    measured on the test half.
    """
    images = load("mnist")
    if images.is_stand_in:
        raise FileNotFoundError(
            "the real MNIST is needed; set LABKIT_DATA to a folder that holds it"
        )
    classifier = train_symbol_classifier(
        arithmetic.glyphs(images, "train"), seed=seed, show=True, **SYMBOLS
    )
    bank = arithmetic.glyphs(images, "test")
    each = {
        f"test_accuracy {name.replace(' ', 'blank')}": v
        for name, v in symbol_accuracy(classifier, bank).items()
    }
    measured = {"test_accuracy": accuracy(classifier, bank.images, bank.labels), **each}
    weights.save(
        "classifier_symbols",
        classifier,
        data=images.title,
        seed=seed,
        command="python -m labkit weights classifier_symbols",
        measured=measured,
    )
    return measured
