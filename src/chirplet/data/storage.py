"""Files of the cache: written whole or not at all, and by one process at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chirplet.error import DataError
from chirplet.whole import LOCK, remove_leftovers, whole_file


@contextmanager
def locked_folder(folder: Path) -> Iterator[Path]:
    """Make a folder of the cache and hold it against other processes; what killed ones were writing there is removed.

    Raises:
        DataError: it cannot be made.
    """
    from filelock import FileLock

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot be made ({error.strerror}); set cache_dir to a folder you own") from None
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire()
    except OSError as error:
        raise DataError(f"{folder}: cannot be locked ({error.strerror}); set cache_dir to a folder you own") from None
    try:
        remove_leftovers(folder)
        yield folder
    finally:
        lock.release()


def write_whole(content: Any, path: Path) -> None:
    """Write a file of the cache, from anything with a buffer, whole or not at all.

    Raises:
        DataError: it cannot be written.
    """
    try:
        with whole_file(path) as stream:
            stream.write(content)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror}); set cache_dir to a folder with room") from None
