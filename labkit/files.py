"""Files that are written whole or not at all, errors that name them, and whether one is online."""

import os
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary file that replaces `path` when the block ends well, and is deleted otherwise.

    Makes the folder. Raises OSError, naming the file and the remedy, if it cannot be written.
    """
    path, temporary = Path(path), None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as RuntimeError
        remedy = "Free some space, or choose a folder you may write to"
        raise OSError(f"cannot write {path}: {error}. {remedy}") from error
    finally:
        if temporary:
            temporary.unlink(missing_ok=True)


@contextmanager
def readable() -> Iterator[None]:
    """Adds the remedy to a PermissionError from inside the block."""
    try:
        yield
    except PermissionError as error:
        remedy = "allow it and the folders above it, e.g. with chmod u+rX"
        raise PermissionError(f"{error.filename} may not be read by this user; {remedy}") from error


def exists(path: Path) -> bool:
    """Whether there is a file or folder; raises PermissionError if that cannot be told."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def online(url: str, seconds: float = 3.0) -> bool:
    """Whether a server answers in time, name look-up and the system's proxies included."""
    answered = []

    def ask() -> None:
        with suppress(OSError, ValueError):
            request = urllib.request.Request(url, method="HEAD")
            with suppress(urllib.error.HTTPError):  # an answer, too
                urllib.request.urlopen(request, timeout=seconds).close()
            answered.append(True)

    thread = threading.Thread(target=ask, daemon=True)  # a name look-up has no time-out of its own
    thread.start()
    thread.join(seconds)
    return bool(answered)
