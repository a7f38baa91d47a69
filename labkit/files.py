"""Writing files so that a classifier sees the old one or the whole new one, never a part."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary file beside `path` to write into; it takes the name `path` when the block ends
    well and vanishes when it does not.

    Makes the folder. Raises OSError naming the file and the remedy if it cannot be written.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as RuntimeError
        raise OSError(
            f"cannot write {path}: {error}. Free some space, or choose a folder that you may write to"
        ) from error
    finally:
        if temporary:
            temporary.unlink(missing_ok=True)
