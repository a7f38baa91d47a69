"""The image sets of the labs, from whichever rung of a ladder holds them.

    1. the folder that LABKIT_DATA names     2. the kit's data/ folder     3. torchvision's download
    4. the built-in stand-in

Folders have torchvision's layout (MNIST/raw/train-images-idx3-ubyte, FashionMNIST/raw/…); cats are
a folder `cats/` or an archive of one. A missing set means the next rung; a broken one is an error,
for silently using something else would make every number a lie.
"""

import hashlib
import io
import os
import shutil
import socket
import struct
import tempfile
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlparse

import torch
from torch import Tensor

from labkit.data import photos, synthetic
from labkit.files import replacing

STAND_IN = "built-in stand-in"
DIGITS = [str(d) for d in range(10)]
GARMENTS = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
]
# name → (title, torchvision class, class names, stand-in generator, its default sizes)
SETS: dict[str, tuple[str, str | None, list[str], Callable, tuple[int, int]]] = {
    "mnist": ("MNIST", "MNIST", DIGITS, synthetic.digits, (60_000, 10_000)),
    "fashion": ("Fashion-MNIST", "FashionMNIST", GARMENTS, synthetic.garments, (60_000, 10_000)),
    "cats": ("Cats", None, ["cat"], synthetic.cat_faces, (9_000, 1_000)),
}


@dataclass(frozen=True)
class ImageSet:
    """One data set: uint8 images (N, C, H, W) and int64 labels (N,), split into train and test.

    source: the rung that the images came from; factors: for stand-ins, {"train": {name: (N,)},
    "test": …}, the values they were drawn with.
    """

    name: str
    title: str
    source: str
    train: Tensor
    test: Tensor
    train_labels: Tensor
    test_labels: Tensor
    classes: list[str]
    factors: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    @property
    def is_stand_in(self) -> bool:
        return self.source == STAND_IN

    @property
    def provenance(self) -> str:
        """For records: name and rung, e.g. "mnist (LABKIT_DATA)"."""
        return f"{self.name} ({self.source})"


def load(name: str, size: tuple[int, int] | None = None, download: bool = True) -> ImageSet:
    """The set `name`: "mnist", "fashion" or "cats"; prints which rung it came from.

    size: take only the first (train, test) images. download: whether the third rung may be tried.
    Raises ValueError for an unknown name or a broken file, FileNotFoundError for a LABKIT_DATA or a
    set that is not all there.
    """
    if name not in SETS:
        raise ValueError(
            f"there is no data set {name!r}; choose one of {', '.join(map(repr, SETS))}"
        )
    title, torchvision_class, *_ = SETS[name]
    read = partial(_read_torchvision, torchvision_class) if torchvision_class else _read_cats
    for source, root in _roots():
        tensors = read(root)
        if tensors:
            return _announce(_image_set(name, source, tensors, size))
    if torchvision_class and download and _download(torchvision_class, title):
        return _announce(_image_set(name, "download", read(home()), size))
    return _announce(_stand_in(name, size))


def home() -> Path:
    """The kit's own data/ folder, where downloads and caches land: in the repository, or below the
    working directory (Colab).
    """
    repository = Path(__file__).resolve().parents[2]
    return (repository if (repository / "notebooks").is_dir() else Path.cwd()) / "data"


def _roots() -> Iterable[tuple[str, Path]]:
    given = os.environ.get("LABKIT_DATA")
    if given:
        # a relative folder counts from the working directory, or from the repository, for notebooks
        # run in notebooks/
        folder = next(
            (path for path in (Path(given).expanduser(), home().parent / given) if path.is_dir()),
            None,
        )
        if folder is None:
            where = "" if Path(given).is_absolute() else f" below {Path.cwd()}"
            raise FileNotFoundError(
                f"LABKIT_DATA={given} is not a folder{where}; set it to one that holds MNIST/raw/… or cats/, or unset it"
            )
        yield "LABKIT_DATA", folder
    yield "data folder", home()


def _image_set(
    name: str, source: str, tensors: tuple[Tensor, ...], size: tuple[int, int] | None, **extra
) -> ImageSet:
    title, _, classes, *_ = SETS[name]
    n_train, n_test = size or (None, None)
    train, test, train_labels, test_labels = tensors
    title = f"{title} stand-in" if source == STAND_IN else title
    return ImageSet(
        name,
        title,
        source,
        train[:n_train],
        test[:n_test],
        train_labels[:n_train],
        test_labels[:n_test],
        classes,
        **extra,
    )


def _announce(images: ImageSet) -> ImageSet:
    print(
        f"{images.title}: {len(images.train):,} training and {len(images.test):,} test images, from: {images.source}"
    )
    if images.is_stand_in:
        print(
            f"  NOTE: these are NOT the real {SETS[images.name][0]} images but drawn ones. Numbers below describe the stand-in."
        )
    return images


# --- MNIST and Fashion-MNIST: IDX files
# -------------------------------------------------------------------------------------------


def _read_torchvision(class_name: str, root: Path) -> tuple[Tensor, ...] | None:
    """train, test, train_labels, test_labels from `root`/<class_name>/raw, or None if that holds no
    set.
    """
    raw = root / class_name / "raw"
    files = {
        part: (raw / f"{part}-images-idx3-ubyte", raw / f"{part}-labels-idx1-ubyte")
        for part in ("train", "t10k")
    }
    missing = [path for pair in files.values() for path in pair if not path.is_file()]
    if len(missing) == 4 and any(raw.glob("*.gz")):
        raise FileNotFoundError(
            f"{raw} holds only packed files, expected unpacked ones beside them; type: gunzip --keep {raw}/*.gz"
        )
    if len(missing) == 4:
        return None
    if missing:
        raise FileNotFoundError(
            f"{missing[0]} is missing though its neighbours are there; delete the folder {raw} and load again"
        )
    for images, labels in files.values():
        n_images, n_labels = _check_idx(images, 0x803, (28, 28)), _check_idx(labels, 0x801, ())
        if n_images != n_labels:
            raise ValueError(
                f"{labels} has {n_labels} labels but {images.name} has {n_images} images; {_remedy(raw)}"
            )

    from torchvision import datasets

    splits = [getattr(datasets, class_name)(root, train=train) for train in (True, False)]
    for split, (_, labels) in zip(splits, files.values(), strict=True):
        if split.targets.max() > 9:
            raise ValueError(
                f"{labels} has the label {split.targets.max()}, expected 0 to 9; {_remedy(raw)}"
            )
    return *(split.data[:, None] for split in splits), *(split.targets for split in splits)


def _check_idx(path: Path, magic: int, shape: tuple[int, ...]) -> int:
    """The number of items in an IDX file (yann.lecun.com/exdb/mnist). Raises ValueError if header
    or size are not as they must be.
    """
    header_size = 8 + 4 * len(shape)
    with path.open("rb") as file:
        header = file.read(header_size)
    if len(header) < header_size:
        raise ValueError(
            f"{path} is truncated: {len(header)} bytes, expected a header of {header_size}; {_remedy(path.parent)}"
        )
    found, n, *found_shape = struct.unpack(f">{2 + len(shape)}I", header)
    if found != magic:
        raise ValueError(
            f"{path} begins with the magic number {found:#x}, expected {magic:#x} (an IDX file, unpacked); {_remedy(path.parent)}"
        )
    if tuple(found_shape) != shape:
        raise ValueError(
            f"{path} holds images of {found_shape}, expected {list(shape)} pixels; {_remedy(path.parent)}"
        )
    if n == 0:
        raise ValueError(f"{path} holds no items, expected at least one; {_remedy(path.parent)}")
    expected = header_size + n * (shape[0] * shape[1] if shape else 1)
    if path.stat().st_size != expected:
        kind = "truncated" if path.stat().st_size < expected else "too long"
        raise ValueError(
            f"{path} is {kind}: {path.stat().st_size} bytes, expected {expected} for {n} items; {_remedy(path.parent)}"
        )
    return n


def _remedy(folder: Path) -> str:
    return (
        f"delete the folder {folder} and load again to download it anew, or put a good copy there"
    )


def _download(class_name: str, title: str) -> bool:
    """Try torchvision's download (checksums are its own) into data/; True if the set is now there.
    Never leaves a part of one.
    """
    from torchvision import datasets

    dataset = getattr(datasets, class_name)
    host = urlparse(dataset.mirrors[0]).hostname
    try:
        socket.create_connection((host, 443), timeout=3).close()
    except OSError:
        print(f"{title}: no network ({host} cannot be reached), nothing downloaded")
        return False
    timeout, temporary = socket.getdefaulttimeout(), None
    socket.setdefaulttimeout(10)
    try:
        home().mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=home(), prefix=".download-"))
        print(f"{title}: downloading (about 12 to 30 MB) …")
        with redirect_stderr(
            io.StringIO()
        ):  # its progress bars go to stderr, which graders count as failure
            dataset(temporary, download=True)
        (home() / class_name).mkdir(exist_ok=True)
        os.replace(temporary / class_name / "raw", home() / class_name / "raw")
        return True
    except (OSError, RuntimeError, EOFError, HTTPException) as error:
        print(
            f"{title}: the download failed ({error}). Remedy: check network and free space, set LABKIT_DATA to a folder that has the set"
        )
        return False
    finally:
        socket.setdefaulttimeout(timeout)
        if temporary:
            shutil.rmtree(temporary, ignore_errors=True)


# --- cats and stand-ins, with their caches
# ------------------------------------------------------------------------------------------


def _read_cats(root: Path) -> tuple[Tensor, ...] | None:
    """train, test, train_labels, test_labels of the cats below `root`, or None if there are none;
    the converted tensors are cached.
    """
    place = photos.find(root, "cats")
    if place is None:
        return None
    key = photos.fingerprint(place)
    content = _cached(f"cats-{key}", lambda: photos.read(place), keep=True)
    images, held_out = content["images"], content["held_out"]
    if content["broken"]:
        shown = ", ".join(content["broken"][:5]) + (", …" if len(content["broken"]) > 5 else "")
        print(
            f"Cats: left out {len(content['broken']):,} files that are no readable image: {shown}"
        )
    if content["copies"]:
        print(
            f"Cats: left out {len(content['copies']):,} exact copies of other images, e.g. {content['copies'][0]}"
        )
    train, test = images[~held_out], images[held_out]
    return (
        train,
        test,
        torch.zeros(len(train), dtype=torch.int64),
        torch.zeros(len(test), dtype=torch.int64),
    )


def _stand_in(name: str, size: tuple[int, int] | None) -> ImageSet:
    *_, generate, full_size = SETS[name]
    wanted = tuple(map(min, size, full_size)) if size else full_size

    def draw() -> dict:
        parts = {
            "train": generate(wanted[0], seed=0),
            "test": generate(wanted[1], seed=1),
        }  # two seeds: no image in both
        return {
            part: {"images": s.images, "labels": s.labels, "factors": s.factors}
            for part, s in parts.items()
        }

    content = _cached(f"{name}-stand-in-{_source_hash()}", draw, keep=wanted == full_size)
    train, test = content["train"], content["test"]
    factors = {
        part: {k: v[:n] for k, v in content[part]["factors"].items()}
        for part, n in zip(("train", "test"), wanted, strict=True)
    }
    return _image_set(
        name,
        STAND_IN,
        (train["images"], test["images"], train["labels"], test["labels"]),
        wanted,
        factors=factors,
    )


def _source_hash() -> str:
    """Changes when the code that draws the stand-ins does, so that a cache never outlives it."""
    source = b"".join(
        path.read_bytes() for path in sorted(Path(synthetic.__file__).parent.glob("*.py"))
    )
    return hashlib.sha256(source).hexdigest()[:12]


def _cached(key: str, make: Callable[[], dict], keep: bool) -> dict:
    """The content of data/cache/`key`.pt, or make() (and, if `keep`, save it there)."""
    path = home() / "cache" / f"{key}.pt"
    if path.exists():
        try:
            return torch.load(path, weights_only=True)
        except Exception as error:
            print(f"{path} is damaged ({type(error).__name__}); making it anew")
    content = make()
    if keep:
        try:
            with replacing(path) as temporary:
                torch.save(content, temporary)
        except OSError as error:
            print(
                f"{error}\n  Going on without this cache: the next load will take as long as this one."
            )
    return content
