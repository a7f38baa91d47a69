"""Where things are: the only module that knows the repository's folders and LABKIT_ variables."""

import os
from pathlib import Path

_CODE = Path(__file__).resolve().parent
LAYOUT = "MNIST/raw/…, FashionMNIST/raw/…, and cats/ or cats.tar"


def repository() -> Path:
    """The clone that labkit was imported from, or the working directory (on Colab)."""
    return _CODE.parent if (_CODE.parent / "notebooks").is_dir() else Path.cwd()


def data() -> Path:
    """The kit's own data/, where downloads and caches land."""
    return repository() / "data"


def weights() -> Path:
    """data/weights/ of the repository, or the copy inside an installed labkit."""
    installed = _CODE / "shipped"
    return installed if installed.is_dir() else repository() / "data" / "weights"


def measured() -> Path:
    """data/results/ of the repository, or the copy inside an installed labkit."""
    installed = _CODE / "measured"
    return installed if installed.is_dir() else repository() / "data" / "results"


def results(profile: str) -> Path:
    """Where records and checkpoints of a profile go: LABKIT_RESULTS, or results/<profile>/."""
    return named("LABKIT_RESULTS") or repository() / "results" / profile


def named(variable: str) -> Path | None:
    """The absolute folder that an environment variable names, or None if it is not set.

    A relative path counts from the working directory if it exists there, else from the repository.
    """
    given = os.environ.get(variable, "").strip()
    if not given:
        return None
    path = Path(os.path.expanduser(given))
    here = Path.cwd() / path
    return here if path.is_absolute() or here.exists() else repository() / path


def image_folders() -> list[tuple[str, Path]]:
    """(name, folder) of each place on this disk that may hold images, the preferred one first.

    Raises FileNotFoundError if LABKIT_DATA is no folder, ValueError if it is that of a single set.
    """
    given = named("LABKIT_DATA")
    if given and not given.is_dir():
        what = f"{os.environ['LABKIT_DATA']} is not a folder ({given})"
        raise FileNotFoundError(
            f"LABKIT_DATA={what}; set it to one that holds {LAYOUT}, or unset it"
        )
    raw = given and next((f for f in (given, given / "raw") if any(f.glob("*idx?-ubyte*"))), None)
    if raw:
        top = next((f for f in given.parents[:2] if any(f.glob("*MNIST/raw"))), None)
        remedy = f"set it to {top}" if top else "move them there"
        what = f"has its IDX files in {raw}, expected in MNIST/raw or FashionMNIST/raw below it"
        raise ValueError(f"LABKIT_DATA={given} {what}; {remedy}")
    return [("LABKIT_DATA", given)] * bool(given) + [("data folder", data())]
