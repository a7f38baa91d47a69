"""Where things are: the one module that knows the repository's folders and the variables that
move them.
"""

import os
from pathlib import Path

_CODE = Path(__file__).resolve().parent


def repository() -> Path:
    """The clone that labkit was imported from; the working directory where it was installed
    without one, as on Colab.
    """
    return _CODE.parent if (_CODE.parent / "notebooks").is_dir() else Path.cwd()


def data() -> Path:
    """The kit's own data/, where downloads and caches land."""
    return repository() / "data"


def weights() -> Path:
    """data/weights/ of the repository, or the copy inside an installed labkit."""
    installed = _CODE / "shipped"
    return installed if installed.is_dir() else data() / "weights"


def results(profile: str) -> Path:
    """Where records and checkpoints of a profile go: LABKIT_RESULTS, or results/<profile>/."""
    return named("LABKIT_RESULTS") or repository() / "results" / profile


def named(variable: str) -> Path | None:
    """The absolute folder that an environment variable names, or None if it is not set.

    `~` is the home folder. A relative path counts from the working directory if it is there, else
    from the repository, for a notebook runs in notebooks/ while its reader types at the top.
    """
    given = os.environ.get(variable, "").strip()
    if not given:
        return None
    path = Path(given).expanduser()
    here = Path.cwd() / path
    return here if path.is_absolute() or here.exists() else repository() / path


def image_folders() -> list[tuple[str, Path]]:
    """(name, folder) of each place on this disk that may hold images, the preferred one first.

    Raises FileNotFoundError for a LABKIT_DATA that is no folder.
    """
    given = named("LABKIT_DATA")
    if given and not given.is_dir():
        raise FileNotFoundError(
            f"LABKIT_DATA={os.environ['LABKIT_DATA']} is not a folder ({given}); set it to one that"
            " holds MNIST/raw/…, FashionMNIST/raw/… or cats/, or unset it"
        )
    return [("LABKIT_DATA", given)] * bool(given) + [("data folder", data())]
