"""A folder or archive of photographs as one tensor, whatever their sizes and modes."""

import hashlib
import os
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from pathlib import Path, PurePosixPath

import numpy as np
import PIL
import torch
from PIL import Image, ImageOps
from torch import Tensor

from labkit import files
from labkit.fingerprint import fingerprint

VERSION = 2  # of what read() returns; raise it with every change, so that no cache is out of date
SIDE = 64  # pixels
FEWEST = 100  # images: with fewer, neither a tenth held out nor a model means anything
MOST_BYTES = 50_000_000  # of one image file
MOST_PIXELS = 50_000_000  # of one image, which takes 4 bytes a pixel to decode
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")
IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")


def find(root: Path, name: str) -> Path | None:
    """`root`/`name` as a folder, or as an archive, or None."""
    candidates = [root / name, *(root / f"{name}{suffix}" for suffix in ARCHIVES)]
    return next((path for path in candidates if files.exists(path)), None)


def key(place: Path) -> str:
    """A fingerprint of what read(place) returns: of the content of the archive or the images."""
    digest = hashlib.sha256()
    is_folder = place.is_dir()
    paths = sorted(_walk(place)) if is_folder else [(place.suffix, place)]
    for name, path in paths:
        size = path.stat().st_size
        if is_folder and (size > MOST_BYTES or not _is_image(place, name)):
            continue  # read() leaves them out
        digest.update(f"{name}\0{size}\0".encode("utf-8", "backslashreplace"))
        with path.open("rb") as file:
            while part := file.read(1 << 20):
                digest.update(part)
    return fingerprint(digest.hexdigest(), VERSION, PIL.__version__)


def read(place: Path) -> dict:
    """All images of a folder or archive, scaled to 64×64, in the order of their names.

    Returns {"images": uint8 (N, 3, 64, 64), "held_out": bool (N,), "broken": list of text,
    "copies": list of text}. Of images with equal pixels only the first name is kept, because a copy
    on the other side of the split would be tested after training. Raises ValueError if the place
    cannot be read, has paths that lead out of it, has fewer than 100 different readable images, or
    has all of them on one side of the split.
    """
    names, images, broken = [], {}, []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # to_tensor refuses them
        for name, content in _members(place):
            names.append(name)
            try:
                images[name] = to_tensor(content())
            except PermissionError:
                raise
            except Exception as error:  # Pillow raises many kinds for broken files
                broken.append(f"{name!r} ({type(error).__name__})")
    first: dict[bytes, str] = {}
    for name in sorted(images):
        first.setdefault(images[name].numpy().tobytes(), name)
    if len(first) < FEWEST:
        found = f"{len(first)} different readable images"
        found += f" and {len(broken)} unreadable ones, e.g. {broken[0]}" if broken else ""
        raise ValueError(
            f"{place} has {found}; expected at least {FEWEST} ({', '.join(IMAGES)}). Add images or"
            f" move {place.name} away"
        )
    short = {name: name for name in names} if place.is_dir() else _without_top(names)
    held_out = torch.tensor([is_held_out(short[name]) for name in first.values()])
    if held_out.all() or not held_out.any():
        raise ValueError(
            f"the names of all {len(first)} images in {place} put them on one side of the split"
            " into training and test images; give the files other names"
        )
    return {
        "images": torch.stack([images[name] for name in first.values()]),
        "held_out": held_out,
        "broken": sorted(broken),
        "copies": [repr(name) for name in sorted(images.keys() - first.values())],
    }


def is_held_out(name: str) -> bool:
    """Whether the image of this path inside its set is one of the tenth kept for testing.

    Only the path decides: an image stays on its side when others come or go.
    """
    name = PurePosixPath(name).as_posix().encode("utf-8", "backslashreplace")
    return hashlib.sha256(name).digest()[0] % 10 == 0


def to_tensor(content: bytes) -> Tensor:
    """An image file as uint8 (3, 64, 64): its central square, upright, on white if transparent.

    Of an animation, the first frame. Raises ValueError for an image of more than 50 million pixels
    and what Pillow raises for a broken one.
    """
    with Image.open(BytesIO(content)) as image:
        if image.width * image.height > MOST_PIXELS:
            raise ValueError(f"{image.width}×{image.height} pixels, more than {MOST_PIXELS:,}")
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):  # 16 bits a pixel, which convert() would clip, not scale
            image = image.convert("I").point(lambda value: value / 257).convert("L")
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image = ImageOps.fit(image.convert("RGB"), (SIDE, SIDE), Image.Resampling.LANCZOS)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def _walk(folder: Path) -> Iterator[tuple[str, Path]]:
    """(name below the folder, path) of every file in it; PermissionError for a closed folder."""

    def refuse(error: OSError) -> None:
        raise error

    for root, _, found in os.walk(folder, onerror=refuse):
        for path in (Path(root, file) for file in found):
            if path.is_file():
                yield path.relative_to(folder).as_posix(), path


def _members(place: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """(name, function that reads it) of every image file; it must be called before the next one.

    Nothing is unpacked to disk.
    """
    if place.is_dir():
        for name, path in _walk(place):
            if _is_image(place, name):
                yield name, lambda path=path: _limited(path.open("rb"), path.stat().st_size)
        return
    try:
        yield from (_zip_members if place.suffix == ".zip" else _tar_members)(place)
    except PermissionError:
        raise
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise ValueError(
            f"{place} cannot be read to its end ({error}); expected a whole archive of images."
            " Copy or download it again"
        ) from error


def _zip_members(place: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    with zipfile.ZipFile(place) as archive:
        for info in archive.infolist():
            if _is_image(place, info.filename):
                if info.flag_bits & 1:
                    raise ValueError(
                        f"{place} is locked with a password; unpack it into a folder"
                        f" {place.with_suffix('')} and move the archive away"
                    )
                yield info.filename, lambda info=info: _limited(archive.open(info), info.file_size)


def _tar_members(place: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    with tarfile.open(place) as archive:
        for info in archive:
            if info.isreg() and _is_image(place, info.name):
                yield info.name, lambda info=info: _limited(archive.extractfile(info), info.size)
        archive.fileobj.seek(archive.offset)
        # tarfile takes an archive that was cut between two files for a whole one
        if len(archive.fileobj.read(tarfile.BLOCKSIZE)) < tarfile.BLOCKSIZE:
            raise tarfile.ReadError("its end is missing")


def _is_image(place: Path, name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(
            f"{place} holds the path {name!r}, which leads out of the archive; expected plain"
            " relative paths. Do not trust it"
        )
    hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts if part != ".")
    return path.suffix.lower() in IMAGES and not hidden


def _limited(file, size: int) -> bytes:
    with file:
        if size > MOST_BYTES:
            raise ValueError(f"{size:,} bytes, more than {MOST_BYTES:,}")
        return file.read(MOST_BYTES)


def _without_top(names: Iterable[str]) -> dict[str, str]:
    """Each name without the one folder, such as cats/, that an archive has around all images."""
    parts = {name: PurePosixPath(name).parts for name in names}
    skip = 1 if len({first for first, *_ in parts.values()}) == 1 else 0
    return {name: "/".join(p[skip:]) for name, p in parts.items()}
