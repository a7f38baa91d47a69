"""A folder or archive of photographs as one tensor, whatever their sizes and modes."""

import hashlib
import os
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
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
MOST_BYTES = MOST_PIXELS = 50_000_000  # of one image; decoded it takes 4 bytes a pixel
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")
IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")
Members = Iterator[tuple[str, Callable[[], bytes]]]  # name, read(): call it before the next


def find(root: Path, name: str) -> Path | None:
    """`root`/`name` as a folder, or as an archive, or None."""
    candidates = [root / name, *(root / f"{name}{suffix}" for suffix in ARCHIVES)]
    return next((path for path in candidates if files.exists(path)), None)


def key(place: Path) -> str:
    """A fingerprint of what read(place) returns: of the content of the archive or the images."""
    digest = hashlib.sha256()
    for name, path in sorted(_walk(place)) if place.is_dir() else [(place.suffix, place)]:
        size = path.stat().st_size
        if place.is_dir() and size > MOST_BYTES:
            continue  # read() leaves it out
        digest.update(f"{name}\0{size}\0".encode("utf-8", "backslashreplace"))
        with path.open("rb") as file:
            while part := file.read(1 << 20):
                digest.update(part)
    return fingerprint(digest.hexdigest(), VERSION, PIL.__version__)


def read(place: Path) -> dict:
    """All images of a folder or archive, scaled to 64×64, in the order of their names.

    Returns {"images": uint8 (N, 3, 64, 64), "held_out": bool (N,), "broken": names, "copies":
    names}. Of equal images only the first name is kept, because a copy could be on the other side
    of the split. Raises ValueError if the place cannot be read, has paths that lead out of it,
    fewer than 100 different readable images, or all of them on one side of the split.
    """
    tops, images, broken = set(), {}, []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # to_tensor refuses them
        for name, content in _members(place):
            tops.add(PurePosixPath(name).parts[0])
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
        also = f" and {len(broken)} unreadable ones, e.g. {broken[0]}" if broken else ""
        raise ValueError(
            f"{place} has {len(first)} different readable images{also}; expected at least {FEWEST}"
            f" ({', '.join(IMAGES)}). Add images or move {place.name} away"
        )
    skip = 1 if len(tops) == 1 and not place.is_dir() else 0  # cats/ around all of an archive
    short = ["/".join(PurePosixPath(name).parts[skip:]) for name in first.values()]
    held_out = torch.tensor([is_held_out(name) for name in short])
    if held_out.all() or not held_out.any():
        what = "put them on one side of the split; give the files other names"
        raise ValueError(f"the names of all {len(first)} images in {place} {what}")
    return {
        "images": torch.stack([images[name] for name in first.values()]),
        "held_out": held_out,
        "broken": sorted(broken),
        "copies": [repr(name) for name in sorted(images.keys() - first.values())],
    }


def is_held_out(name: str) -> bool:
    """Whether the image of this path inside its set is one of the tenth kept for testing."""
    name = PurePosixPath(name).as_posix().encode("utf-8", "backslashreplace")
    return hashlib.sha256(name).digest()[0] % 10 == 0


def to_tensor(content: bytes) -> Tensor:
    """An image file as uint8 (3, 64, 64): its central square, upright, on white if transparent.

    Raises ValueError for more than 50 million pixels and what Pillow raises for a broken image.
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
    """(name below the folder, path) of every image file; PermissionError for a closed folder."""

    def refuse(error: OSError) -> None:
        raise error

    for root, _, found in os.walk(folder, onerror=refuse):
        for path in (Path(root, file) for file in found):
            name = path.relative_to(folder).as_posix()
            if path.is_file() and _is_image(folder, name):
                yield name, path


def _members(place: Path) -> Members:
    """The image files of a folder or an archive; nothing is unpacked to disk."""
    if place.is_dir():
        for name, path in _walk(place):
            yield name, lambda path=path: _limited(path.open("rb"), path.stat().st_size)
        return
    try:
        yield from (_zip_members if place.suffix == ".zip" else _tar_members)(place)
    except PermissionError:
        raise
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        what = f"cannot be read to its end ({error}); expected a whole archive of images"
        raise ValueError(f"{place} {what}. Copy or download it again") from error


def _zip_members(place: Path) -> Members:
    with zipfile.ZipFile(place) as archive:
        for info in archive.infolist():
            if _is_image(place, info.filename):
                if info.flag_bits & 1:
                    remedy = f"unpack it into a folder {place.with_suffix('')} and move it away"
                    raise ValueError(f"{place} is locked with a password; {remedy}")
                yield info.filename, lambda info=info: _limited(archive.open(info), info.file_size)


def _tar_members(place: Path) -> Members:
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
        what = f"holds the path {name!r}, which leads out of the archive"
        raise ValueError(f"{place} {what}; expected plain relative paths. Do not trust it")
    hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts if part != ".")
    return path.suffix.lower() in IMAGES and not hidden


def _limited(file, size: int) -> bytes:
    with file:
        if size > MOST_BYTES:
            raise ValueError(f"{size:,} bytes, more than {MOST_BYTES:,}")
        return file.read(MOST_BYTES)
