"""Files of the cache: written whole or not at all, and by one process at a time."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chirplet.error import DataError


@contextmanager
def locked_folder(folder: Path) -> Iterator[Path]:
    """Make a folder of the cache and hold it against other processes.

    Raises:
        DataError: it cannot be made.
    """
    from filelock import FileLock

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot be made ({error.strerror}); set cache_dir to a folder you own") from None
    with FileLock(folder / ".lock"):
        yield folder


def write_whole(content: bytes, path: Path) -> None:
    """Write a file whole or not at all.

    Raises:
        DataError: it cannot be written.
    """
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=path.name, suffix=".tmp", dir=path.parent)
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror}); set cache_dir to a folder with room") from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
