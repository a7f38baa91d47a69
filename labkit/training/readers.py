"""The kit's readers: the frozen classifiers that label generated images and whose features measure distances between sets of images.

python -m labkit weights reader_mnist       trains one anew and writes data/weights/reader_mnist.pt and .json
"""

import torch

from labkit import weights
from labkit.data.images import ImageSet, load
from labkit.models.reader import Reader
from labkit.training.classify import accuracy, train_classifier

RECIPES = {  # of the shipped readers; garments may be mirrored, digits may not
    "mnist": dict(epochs=6, shift_by=2, mirror=False, batch_size=128, lr=3e-3),
    "fashion": dict(epochs=10, shift_by=1, mirror=True, batch_size=128, lr=3e-3),
}
BAND = 0.0015  # test accuracy of another seed or machine lies within this of the shipped reader's
IMAGES_ON_THE_FLY = 12_000  # for stand-ins: a few seconds of training


def train_reader(images: ImageSet, seed: int = 0, show: bool = False, **recipe) -> Reader:
    """A Reader trained on `images.train`, frozen, in eval mode; `recipe` as train_classifier takes it."""
    with torch.random.fork_rng():  # leaves the caller's generator alone
        torch.manual_seed(seed)
        reader = train_classifier(Reader(), images.train, images.train_labels, seed=seed, show=show, **recipe)
    return reader.requires_grad_(False)


def reader_for(images: ImageSet, say: bool = True) -> Reader:
    """The frozen reader of a set of digits or garments: the shipped one for real images, one trained on the spot for a stand-in.

    With `say`, prints which it is and what it reads of the test images, which neither has been trained on.
    Raises ValueError for a set without a reader (cats have one class).
    """
    if images.name not in RECIPES:
        raise ValueError(f"there is no reader for {images.name!r}; choose one of {', '.join(map(repr, RECIPES))}")
    if images.is_stand_in:
        origin = "trained just now"
        reader = train_reader(images, **{**RECIPES[images.name], "epochs": IMAGES_ON_THE_FLY / len(images.train)})
    else:
        origin = "supplied with the kit"
        reader = Reader()
        weights.load(f"reader_{images.name}", reader)
        reader.requires_grad_(False)
    if say:
        share = accuracy(reader, images.test, images.test_labels)
        print(f"Reader of {images.title}, {origin}: reads {share:.2%} of {len(images.test):,} test images")
    return reader


def make_reader(name: str, seed: int = 0) -> dict:
    """Train the reader of the set `name` on real images and ship it; returns what was measured."""
    images = load(name)
    if images.is_stand_in:
        raise FileNotFoundError(f"the real {images.title} is needed; set LABKIT_DATA to a folder that holds it")
    reader = train_reader(images, seed, show=True, **RECIPES[name])
    measured = {"test_accuracy": accuracy(reader, images.test, images.test_labels)}
    weights.save(
        f"reader_{name}", reader, data=images.title, seed=seed, command=f"python -m labkit weights reader_{name}", measured=measured
    )
    return measured
