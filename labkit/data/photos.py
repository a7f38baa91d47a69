"""A folder or archive of photographs as one tensor, whatever their sizes, modes and faults."""

import hashlib
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

SIDE = 64  # pixels
FEWEST = 100  # images: with fewer, neither a tenth held out nor a model means anything
LARGEST = 50_000_000  # bytes of one image file
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")
IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")


def find(root: Path, name: str) -> Path | None:
    """`root`/`name` as a folder, or as an archive, or None."""
    candidates = [root / name, *(root / f"{name}{suffix}" for suffix in ARCHIVES)]
    return next((path for path in candidates if path.exists()), None)


def fingerprint(place: Path) -> str:
    """A hash that changes when the archive, or a file in the folder, or the code that reads it, is
    changed.
    """
    files = (
        [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())
    )
    facts = [
        (path.relative_to(place).as_posix(), path.stat().st_size, path.stat().st_mtime_ns)
        for path in files
    ]
    return hashlib.sha256(repr(facts).encode() + Path(__file__).read_bytes()).hexdigest()[:16]


def read(place: Path) -> dict:
    """{"images": uint8 (N, 3, 64, 64), "held_out": bool (N,), "broken": names, "copies": names}, in
    the order of file names.

    Of images that are the same to the pixel the first name stays, for a copy on the other side of
    the split would be tested after training. Raises ValueError if the place cannot be read, holds
    paths that lead out of it, or has fewer than 100 readable images.
    """
    images, broken = {}, []
    for name, content in _files(place):
        try:
            images[name] = to_tensor(content())
        except Exception as error:  # Pillow raises many kinds for broken files, and none of them may stop the others
            broken.append(f"{name} ({type(error).__name__})")
    first: dict[bytes, str] = {}
    for name in sorted(images):
        first.setdefault(images[name].numpy().tobytes(), name)
    copies = sorted(images.keys() - first.values())
    if len(first) < FEWEST:
        found = f"{len(first)} different readable images" + (
            f" and {len(broken)} unreadable ones, e.g. {broken[0]}" if broken else ""
        )
        raise ValueError(
            f"{place} has {found}; expected at least {FEWEST} ({', '.join(IMAGES)}). Add images or move {place.name} away"
        )
    held_out = torch.tensor([is_held_out(name) for name in first.values()])
    return {
        "images": torch.stack([images[n] for n in first.values()]),
        "held_out": held_out,
        "broken": sorted(broken),
        "copies": copies,
    }


def is_held_out(name: str) -> bool:
    """Whether an image of this file name is one of the tenth kept for testing. The name alone
    decides, so other images do not matter.
    """
    return hashlib.sha256(PurePosixPath(name).name.encode()).digest()[0] % 10 == 0


def to_tensor(content: bytes) -> Tensor:
    """An image file as uint8 (3, 64, 64): upright, first frame, on white where transparent, the
    central square, scaled.
    """
    with Image.open(BytesIO(content)) as image:
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):  # 16 bits a pixel, which convert() would clip, not scale
            image = image.convert("I").point(lambda value: value / 257).convert("L")
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        pixels = np.array(
            ImageOps.fit(image.convert("RGB"), (SIDE, SIDE), Image.Resampling.LANCZOS)
        )  # (64, 64, 3)
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _files(place: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Name and a function that reads it (at once, before the next), for every image file; nothing
    is unpacked to disk.
    """
    if place.is_dir():
        for path in place.rglob("*"):
            name = path.relative_to(place).as_posix()
            if path.is_file() and _is_image(place, name):
                yield name, path.read_bytes
        return
    try:
        if place.suffix == ".zip":
            with zipfile.ZipFile(place) as archive:
                for info in archive.infolist():
                    if _is_image(place, info.filename):
                        yield (
                            info.filename,
                            partial(_read_member, partial(archive.open, info), info.file_size),
                        )
        else:
            with tarfile.open(place) as archive:
                for info in archive:
                    if info.isreg() and _is_image(place, info.name):
                        yield (
                            info.name,
                            partial(_read_member, partial(archive.extractfile, info), info.size),
                        )
                archive.fileobj.seek(
                    archive.offset
                )  # tarfile takes an archive cut between two files for a whole one
                if len(archive.fileobj.read(tarfile.BLOCKSIZE)) < tarfile.BLOCKSIZE:
                    raise tarfile.ReadError("its end is missing")
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise ValueError(
            f"{place} cannot be read to its end ({error}); expected a whole archive of images. Copy or download it again"
        ) from error


def _is_image(place: Path, name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(
            f"{place} holds the path {name!r}, which leads out of the archive; expected plain relative paths. Do not trust it"
        )
    hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts if part != ".")
    return path.suffix.lower() in IMAGES and not hidden


def _read_member(open_member: Callable, size: int) -> bytes:
    if size > LARGEST:
        raise ValueError(f"{size} bytes, more than an image of this kit may have")
    with open_member() as file:
        return file.read(LARGEST)
