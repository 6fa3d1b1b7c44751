"""Files of the cache: written atomically, by one process at a time, and readable by their owner alone.

Texts may be private, and so may logits that a teacher gave them: folders have mode 0700 and files 0600, whatever the
umask. Folders that are there already keep their modes.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chirplet.system.atomic_io import LOCK, atomic_file, remove_leftovers
from chirplet.system.error import DataError

FILE_MODE = 0o600
FOLDER_MODE = 0o700


def make_folder(folder: Path) -> None:
    """Make a folder of the cache, and those above it that are not there.

    Raises:
        OSError: it cannot be made.
    """
    for missing in reversed([above for above in (folder, *folder.parents) if not above.exists()]):
        missing.mkdir(mode=FOLDER_MODE, exist_ok=True)
    if not folder.is_dir():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(folder))


@contextmanager
def locked_folder(folder: Path) -> Iterator[Path]:
    """Make a folder of the cache and hold it against other processes; what killed ones were writing there is removed.

    Raises:
        DataError: it cannot be made.
    """
    from filelock import FileLock

    try:
        make_folder(folder)
    except OSError as error:
        raise DataError(f"{folder}: cannot be made ({error.strerror}); set cache_dir to a folder you own") from None
    lock = FileLock(folder / LOCK, mode=FILE_MODE)
    try:
        lock.acquire()
    except OSError as error:
        raise DataError(f"{folder}: cannot be locked ({error.strerror}); set cache_dir to a folder you own") from None
    try:
        remove_leftovers(folder)
        yield folder
    finally:
        lock.release()


def write_atomically(content: Any, path: Path) -> None:
    """Write a file of the cache, from anything with a buffer, whole or not at all.

    Raises:
        DataError: it cannot be written.
    """
    try:
        with atomic_file(path) as stream:
            os.fchmod(stream.fileno(), FILE_MODE)  # before there is anything in it
            stream.write(content)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror}); set cache_dir to a folder with room") from None
