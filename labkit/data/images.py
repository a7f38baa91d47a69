"""The images of the labs: MNIST, Fashion-MNIST and cats, from the first place that has them.

    1. the folder that LABKIT_DATA names     2. the kit's data/ folder     3. torchvision's download
    4. the built-in stand-ins, drawn by labkit.data.synthetic

Folders have torchvision's layout (MNIST/raw/train-images-idx3-ubyte, FashionMNIST/raw/…); cats are
a folder cats/ or an archive of one. A set that is broken is an error, never the next place.
"""

import functools
import hashlib
import io
import math
import os
import socket
import struct
import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from labkit import files, folders
from labkit.data import photos, synthetic
from labkit.fingerprint import content, fingerprint

STAND_IN = "built-in stand-in"
UNPUBLISHED = ", not the published files"
DIGITS = list("0123456789")
GARMENTS = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker"]
GARMENTS += ["Bag", "Ankle boot"]
# The files of an IDX set, in the order of an ImageSet's tensors.
FILES = ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte")
FILES += ("train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte")
PUBLISHED = {  # the sha256 of the FILES that torchvision downloads, unpacked: its first 16 digits
    "mnist": ("ba891046e6505d7a", "0fa7898d509279e4", "65a50cbbf4e906d7", "ff7bcfd416de3373"),
    "fashion": ("9fff5efa9144debe", "64171f26c6962db1", "7cd88f551e935100", "59df6c6ad638dc43"),
}


class Known(NamedTuple):
    """What is known of a data set before any of its files is read."""

    title: str
    folder: str | None  # of the IDX files, also torchvision's name; None for photographs
    classes: list[str]
    draw: Callable  # the stand-in: draw(n, seed)
    full: tuple[int, int] = (60_000, 10_000)  # training and test images of the stand-in

    @property
    def layout(self) -> str:
        """What a folder must have in it."""
        idx = f"{self.folder}/raw/{FILES[0]} and its three neighbours"
        return idx if self.folder else "cats/ or cats.tar"


SETS = {
    "mnist": Known("MNIST", "MNIST", DIGITS, synthetic.digits),
    "fashion": Known("Fashion-MNIST", "FashionMNIST", GARMENTS, synthetic.garments),
    "cats": Known("Cats", None, ["cat"], synthetic.cat_faces, (9_000, 1_000)),
}


@dataclass(frozen=True)
class DataKey:
    """Which images an experiment used; equal to another key if the images are, wherever found."""

    name: str
    size: tuple[int, int]  # training and test images
    source: str = field(compare=False)
    content: str  # a hash of all images and labels

    def load(self) -> "ImageSet":
        """The same images, without a word and kept in memory; ValueError if they are others now."""
        return _load_again(self)


@dataclass(frozen=True, eq=False)
class ImageSet:
    """One data set: uint8 images (N, C, H, W) and int64 labels (N,), split into train and test."""

    name: str
    title: str
    source: str  # where the images were found
    train: Tensor
    test: Tensor
    train_labels: Tensor
    test_labels: Tensor
    classes: list[str]
    # what stand-ins were drawn with, {"train": {name: (N,)}, "test": …}
    factors: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    @property
    def is_stand_in(self) -> bool:
        """Whether these images are drawn and not real."""
        return self.source == STAND_IN

    @property
    def is_published(self) -> bool:
        """Real images, and not known to differ from the published files (cats have none)."""
        return not self.is_stand_in and not self.source.endswith(UNPUBLISHED)

    @property
    def provenance(self) -> str:
        """Name and source for records, e.g. "mnist (LABKIT_DATA)"."""
        return f"{self.name} ({self.source})"

    @functools.cached_property
    def key(self) -> DataKey:
        """The name, size and content of these images; the hash takes up to half a second."""
        parts = map(content, (self.train, self.test, self.train_labels, self.test_labels))
        digest = hashlib.sha256("".join(parts).encode()).hexdigest()[:16]
        return DataKey(self.name, (len(self.train), len(self.test)), self.source, digest)

    def require_published(self) -> "ImageSet":
        """These images; ValueError if weights made from them must not be supplied with the kit."""
        if self.is_published:
            return self
        known = SETS[self.name]
        raise ValueError(
            f"the real {known.title} images are needed, these are from: {self.source}. Set"
            f" LABKIT_DATA to a folder that has {known.layout}"
        )


def load(name: str, size: tuple[int, int] | None = None, download: bool = True) -> ImageSet:
    """The set "mnist", "fashion" or "cats"; prints where it was found.

    size: take only the first (train, test) images. download: whether it may be tried. Raises
    ValueError for an unknown name, a bad size or a broken file, FileNotFoundError for a part of a
    set or a LABKIT_DATA that is no folder, PermissionError for a file that may not be read.
    """
    found = _load(name, size, download, print)
    counts = f"{len(found.train):,} training and {len(found.test):,} test images"
    print(f"{found.title}: {counts}, from: {found.source}")
    if not found.is_published:
        what = "published images: supplied weights were not made for them"
        if found.is_stand_in:
            what = "real images but drawn ones: numbers below describe the stand-in"
        print(f"  NOTE: these are NOT the {what}.")
    return found


@files.readable()
def find(name: str) -> tuple[str, Path] | None:
    """(source, file or folder) of a set on this disk, or None; raises what load() does."""
    if name not in SETS:
        raise ValueError(f"there is no data set {name!r}; choose one of {str([*SETS])[1:-1]}")
    folder = SETS[name].folder
    for source, root in folders.image_folders():
        place = root / folder / "raw" if folder else photos.find(root, "cats")
        if place is None or not files.exists(place):
            continue
        if folder is None or any(file.startswith(FILES) for file in os.listdir(place)):
            return source, place
    return None


@files.readable()
def _load(name: str, size: tuple[int, int] | None, download: bool, say: Callable) -> ImageSet:
    if size is not None and (len(size) != 2 or any(n != int(n) or n < 1 for n in size)):
        raise ValueError(f"size={size} must be two whole numbers of images, each 1 or more")
    place, known = find(name), SETS[name]
    given = folders.named("LABKIT_DATA")
    if given and (place is None or place[0] != "LABKIT_DATA"):
        say(f"LABKIT_DATA={given} has no {known.title} (expected {known.layout}); looking further")
    if place is None and known.folder and download and _download(known, say):
        place = "download", folders.data() / known.folder / "raw"
    if place is None:
        return _stand_in(name, size, say)
    source, path = place
    if known.folder:
        tensors, published = _read_idx_set(name, path)
        source += "" if published else UNPUBLISHED
    else:
        tensors = _read_cats(path, say)
    wanted = size or (None, None)
    parts = [part[:n] for part, n in zip(tensors, (*wanted, *wanted), strict=True)]
    return ImageSet(name, known.title, source, *parts, known.classes)


@functools.cache
def _load_again(key: DataKey) -> ImageSet:
    found = _load(key.name, key.size, False, lambda text: None)
    if found.key != key:
        raise ValueError(
            f"{key.name} has changed: {found.key.size} images, hash {found.key.content}, from"
            f" {found.source}, expected {key.size}, {key.content}, from {key.source}. Put those"
            " images back, e.g. with LABKIT_DATA, or start the experiment anew"
        )
    return found


def _read_idx_set(name: str, raw: Path) -> tuple[list[Tensor], bool]:
    """Train, test, train_labels, test_labels of a folder, and whether they are as published."""
    paths = [raw / file for file in FILES]
    missing = [path for path in paths if not files.exists(path)]
    packed = [f'"{path}.gz"' for path in missing if files.exists(Path(f"{path}.gz"))]
    if packed:
        command = f"python -m gzip -d {' '.join(packed)}"
        raise FileNotFoundError(f"{packed[0]} is not unpacked; type: {command}")
    if missing:
        what = "is missing though others of its set are there"
        raise FileNotFoundError(str(_broken(missing[0], what)))
    tensors, digests = zip(*map(_read_idx, paths, [(28, 28), (28, 28), (), ()]), strict=True)
    for path, images, labels in zip(paths[2:], tensors[:2], tensors[2:], strict=True):
        if len(images) != len(labels):
            raise _broken(path, f"has {len(labels)} labels for {len(images)} images")
        if labels.max() > 9:
            raise _broken(path, f"has the label {labels.max()}, expected 0 to 9")
    for path, digest in zip(paths, digests, strict=True):
        owner = next((owner for owner, known in PUBLISHED.items() if digest in known), name)
        if owner != name:
            raise ValueError(
                f"{path} is a file of {SETS[owner].title}, not of {SETS[name].title}; move it to"
                f" {SETS[owner].folder}/raw/ and put the right one here"
            )
    images, labels = [part[:, None] for part in tensors[:2]], [part.long() for part in tensors[2:]]
    return images + labels, digests == PUBLISHED[name]


def _read_idx(path: Path, shape: tuple[int, ...]) -> tuple[Tensor, str]:
    """The uint8 (n, *shape) of an IDX file (yann.lecun.com/exdb/mnist) and its sha256's start."""
    content = bytearray(path.read_bytes())
    size, right, start = len(content), 0x801 + len(shape), 8 + 4 * len(shape)
    if size < start:
        raise _broken(path, f"is truncated: {size} bytes, expected a header of {start}")
    magic, n, *found_shape = struct.unpack_from(f">{2 + len(shape)}I", content)
    if magic != right:
        raise _broken(path, f"begins with {magic:#x}, expected {right:#x} (an unpacked IDX file)")
    if tuple(found_shape) != shape:
        raise _broken(path, f"holds images of {found_shape}, expected {list(shape)} pixels")
    expected = start + n * math.prod(shape)
    if n == 0:
        raise _broken(path, f"is empty: {size} bytes, expected those of 1 item or more")
    if size != expected:
        kind = "truncated" if size < expected else "too long"
        raise _broken(path, f"is {kind}: {size} bytes for {n} items, expected {expected}")
    values = torch.frombuffer(content, dtype=torch.uint8, offset=start)
    return values.view(n, *shape), hashlib.sha256(content).hexdigest()[:16]


def _broken(path: Path, what: str) -> ValueError:
    remedy = f"move the folder {path.parent} away and load again to download it"
    return ValueError(f"{path} {what}; {remedy}, or put a good copy there")


def _download(known: Known, say: Callable) -> bool:
    """Try torchvision's download into data/, all or nothing; True if the set is there."""
    from torchvision import datasets

    dataset = getattr(datasets, known.folder)
    if not files.online(mirror := dataset.mirrors[0]):
        say(f"{known.title}: no network ({mirror} does not answer), nothing downloaded")
        return False
    timeout, home = socket.getdefaulttimeout(), folders.data()
    socket.setdefaulttimeout(10)
    try:
        home.mkdir(parents=True, exist_ok=True)
        options = {"prefix": ".download-", "ignore_cleanup_errors": True}
        with tempfile.TemporaryDirectory(dir=home, **options) as temporary:
            say(f"{known.title}: downloading (about 12 to 30 MB) …")
            with redirect_stderr(io.StringIO()):  # progress bars; graders take stderr for failure
                dataset(Path(temporary), download=True)
            raw = Path(known.folder) / "raw"
            (home / raw).mkdir(parents=True, exist_ok=True)
            for file in FILES:
                os.replace(temporary / raw / file, home / raw / file)
        return True
    except (OSError, RuntimeError, EOFError, HTTPException) as error:
        remedy = "check network and free space, or set LABKIT_DATA to a folder that has the set"
        say(f"{known.title}: the download failed ({error}). Remedy: {remedy}")
        return False
    finally:
        socket.setdefaulttimeout(timeout)


def _read_cats(place: Path, say: Callable) -> list[Tensor]:
    """Train, test, train_labels, test_labels of a folder or archive of cats, cached as tensors."""
    cats = _cached(f"cats-{photos.key(place)}", lambda: photos.read(place), True, say)
    broken, copies, held_out = cats["broken"], cats["copies"], cats["held_out"]
    if broken:
        shown = ", ".join(broken[:5]) + (", …" if len(broken) > 5 else "")
        say(f"Cats: left out {len(broken):,} files that are no readable image: {shown}")
    if copies:
        say(f"Cats: left out {len(copies):,} exact copies of other images, e.g. {copies[0]}")
    images = [cats["images"][~held_out], cats["images"][held_out]]
    return images + [torch.zeros(len(part), dtype=torch.int64) for part in images]


def _stand_in(name: str, size: tuple[int, int] | None, say: Callable) -> ImageSet:
    title, _, classes, draw, full = SETS[name]
    wanted = tuple(map(min, size, full)) if size else full

    def make() -> dict:  # two seeds: no image is in both halves
        return {"train": vars(draw(wanted[0], seed=0)), "test": vars(draw(wanted[1], seed=1))}

    sources = sorted(Path(synthetic.__file__).parent.glob("*.py"))
    code = fingerprint([path.read_text("utf-8") for path in sources])
    found = _cached(f"{name}-stand-in-{code}", make, wanted == full, say)
    halves = list(zip(found.values(), wanted, strict=True))
    tensors = [half[kind][:n] for kind in ("images", "labels") for half, n in halves]
    factors = [{k: values[:n] for k, values in half["factors"].items()} for half, n in halves]
    factors = dict(zip(found, factors, strict=True))
    return ImageSet(name, f"{title} stand-in", STAND_IN, *tensors, classes, factors)


def _cached(key: str, make: Callable[[], dict], keep: bool, say: Callable) -> dict:
    """What data/cache/<key>.pt holds, or else make(), which is saved there if `keep` is set."""
    path = folders.data() / "cache" / f"{key}.pt"
    if path.exists():
        try:
            return torch.load(path, weights_only=True)
        except Exception as error:
            say(f"{path} is damaged ({type(error).__name__}); making it anew")
    made = make()
    if keep:
        try:
            with files.replacing(path) as temporary:
                torch.save(made, temporary)
        except OSError as error:
            say(f"{error}\n  Going on without a cache: the next load takes as long as this one.")
    return made
