"""The kit's readers: the frozen classifiers that label generated images and whose features measure
distances between sets of images.

python -m labkit weights reader_mnist       trains one anew and writes data/weights/reader_mnist.pt
and .json
python -m labkit weights reader_symbols     the one that knows +, − and the blank besides the digits
"""

import torch

from labkit import weights
from labkit.data import arithmetic
from labkit.data.images import ImageSet, load
from labkit.data.synthetic.geometry import smooth_noise
from labkit.models.reader import Reader
from labkit.training.classify import accuracy, predict, train_classifier

RECIPES = {  # of the shipped readers; garments may be mirrored, digits may not
    "mnist": dict(epochs=6, shift_by=2, mirror=False, batch_size=128, lr=3e-3),
    "fashion": dict(epochs=10, shift_by=1, mirror=True, batch_size=128, lr=3e-3),
}
SYMBOLS = dict(
    images=72_000, epochs=6, shift_by=2, batch_size=128, lr=3e-3
)  # as many pictures of each symbol
BAND = 0.0015  # test accuracy of another seed or machine lies within this of the shipped reader's
IMAGES_ON_THE_FLY = 12_000  # for stand-ins: a few seconds of training


def train_reader(images: ImageSet, seed: int = 0, show: bool = False, **recipe) -> Reader:
    """A Reader trained on `images.train`, frozen, in eval mode; `recipe` as train_classifier takes
    it.
    """
    with torch.random.fork_rng():  # leaves the caller's generator alone
        torch.manual_seed(seed)
        reader = train_classifier(
            Reader(), images.train, images.train_labels, seed=seed, show=show, **recipe
        )
    return reader.requires_grad_(False)


def reader_for(images: ImageSet, say: bool = True) -> Reader:
    """The frozen reader of a set of digits or garments: the shipped one for real images, one
    trained on the spot for a stand-in.

    With `say`, prints which it is and what it reads of the test images, which neither has been
    trained on. Raises ValueError for a set without a reader (cats have one class).
    """
    if images.name not in RECIPES:
        raise ValueError(
            f"there is no reader for {images.name!r}; choose one of {', '.join(map(repr, RECIPES))}"
        )
    if images.is_stand_in:
        origin = "trained just now"
        reader = train_reader(
            images, **{**RECIPES[images.name], "epochs": IMAGES_ON_THE_FLY / len(images.train)}
        )
    else:
        origin = "supplied with the kit"
        reader = Reader()
        weights.load(f"reader_{images.name}", reader)
        reader.requires_grad_(False)
    if say:
        share = accuracy(reader, images.test, images.test_labels)
        print(
            f"Reader of {images.title}, {origin}: reads {share:.2%} of {len(images.test):,} test images"
        )
    return reader


def make_reader(name: str, seed: int = 0) -> dict:
    """Train the reader of the set `name` on real images and ship it; returns what was measured."""
    images = load(name)
    if images.is_stand_in:
        raise FileNotFoundError(
            f"the real {images.title} is needed; set LABKIT_DATA to a folder that holds it"
        )
    reader = train_reader(images, seed, show=True, **RECIPES[name])
    measured = {"test_accuracy": accuracy(reader, images.test, images.test_labels)}
    weights.save(
        f"reader_{name}",
        reader,
        data=images.title,
        seed=seed,
        command=f"python -m labkit weights reader_{name}",
        measured=measured,
    )
    return measured


def train_symbols_reader(
    bank: arithmetic.Glyphs, images: int, seed: int = 0, show: bool = False, **recipe
) -> Reader:
    """A Reader of the 13 symbols of arithmetic, frozen, trained on `images` pictures from `bank`,
    as many of each symbol.

    Half of the blanks carry a faint haze, as drawn answers do, so that a blank need not be
    perfectly black.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(arithmetic.SYMBOLS)).repeat(-(-images // len(arithmetic.SYMBOLS)))[
        :images
    ]
    pictures = arithmetic.draw(labels[:, None], bank, generator)[:, 0]
    blanks = (labels == arithmetic.BLANK).nonzero()[::2, 0]
    strength = 12 * torch.rand(len(blanks), 1, 1, 1, generator=generator)
    pictures[blanks] = (
        (strength * smooth_noise(len(blanks), 1, pictures.shape[-1], 4, generator).abs())
        .clamp(0, 30)
        .to(torch.uint8)
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        reader = train_classifier(
            Reader(len(arithmetic.SYMBOLS)), pictures, labels, seed=seed, show=show, **recipe
        )
    return reader.requires_grad_(False)


def symbols_reader_for(images: ImageSet, say: bool = True) -> Reader:
    """The frozen reader of the 13 symbols: the shipped one for MNIST, one trained on the spot for
    its stand-in; `say` as for reader_for.
    """
    if images.is_stand_in:
        origin = "trained just now"
        reader = train_symbols_reader(
            arithmetic.glyphs(images, "train"),
            **{**SYMBOLS, "images": IMAGES_ON_THE_FLY, "epochs": 1},
        )
    else:
        origin = "supplied with the kit"
        reader = Reader(len(arithmetic.SYMBOLS))
        weights.load("reader_symbols", reader)
        reader.requires_grad_(False)
    if say:
        bank = arithmetic.glyphs(images, "test")
        share = accuracy(reader, bank.images, bank.labels)
        print(
            f"Reader of the 13 symbols, {origin}: reads {share:.2%} of {len(bank.images):,} test pictures"
        )
    return reader


def symbol_accuracy(reader: Reader, bank: arithmetic.Glyphs) -> dict[str, float]:
    """Share of the bank's pictures that are read right, in [0, 1], for each symbol."""
    right = (predict(reader, bank.images).argmax(1) == bank.labels).double()
    return {
        symbol: part.mean().item()
        for symbol, part in zip(arithmetic.SYMBOLS, right.split(bank.count.tolist()), strict=True)
    }


def make_symbols_reader(seed: int = 0) -> dict:
    """Train the reader of the symbols on MNIST's training half and ship it; returns what was
    measured on the test half.
    """
    images = load("mnist")
    if images.is_stand_in:
        raise FileNotFoundError(
            "the real MNIST is needed; set LABKIT_DATA to a folder that holds it"
        )
    reader = train_symbols_reader(
        arithmetic.glyphs(images, "train"), seed=seed, show=True, **SYMBOLS
    )
    bank = arithmetic.glyphs(images, "test")
    each = {
        f"test_accuracy {name.replace(' ', 'blank')}": v
        for name, v in symbol_accuracy(reader, bank).items()
    }
    measured = {"test_accuracy": accuracy(reader, bank.images, bank.labels), **each}
    weights.save(
        "reader_symbols",
        reader,
        data=images.title,
        seed=seed,
        command="python -m labkit weights reader_symbols",
        measured=measured,
    )
    return measured
