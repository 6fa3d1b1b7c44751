"""Files of the cache: written atomically, by one process at a time, and readable only by their owner.

Texts and teachers' logits may be private: new folders have mode 0700 and files 0600, whatever the umask. Existing
folders keep their modes.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from chirplet.system.atomic_io import LOCK, atomic_file, check_writable, is_full, remove_leftovers
from chirplet.system.error import DataError

FILE_MODE = 0o600
FOLDER_MODE = 0o700
MORE_SPACE = "set cache_dir to a folder with free space"


def make_folder(folder: Path) -> None:
    """Create a cache folder and its missing parents.

    Raises:
        OSError: a folder cannot be created.
    """
    for missing in reversed([above for above in (folder, *folder.parents) if not above.exists()]):
        missing.mkdir(mode=FOLDER_MODE, exist_ok=True)
    if not folder.is_dir():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(folder))


def check_cache(folder: Path) -> None:
    """Create the cache's folder and check that files can be written there.

    Raises:
        ArtifactError: they cannot.
    """
    with suppress(OSError):  # reported with its key
        make_folder(folder)
    check_writable(folder, "cache_dir")


@contextmanager
def locked_folder(folder: Path) -> Iterator[Path]:
    """Create and lock a cache folder, and remove the temporary files of killed processes.

    Raises:
        DataError: it cannot be created or locked, or its disk is full in the block.
    """
    from filelock import FileLock

    try:
        make_folder(folder)
    except OSError as error:
        raise DataError(f"{folder}: cannot be created ({error.strerror}); set cache_dir to a folder you own") from None
    lock = FileLock(folder / LOCK, mode=FILE_MODE, fallback_to_soft=False)
    try:
        lock.acquire()
    except OSError as error:
        remedy = "set cache_dir to a folder you own, on a disk with file locks"
        raise DataError(f"{folder}: cannot be locked ({error.strerror}); {remedy}") from None
    try:
        remove_leftovers(folder)
        yield folder
    except OSError as error:
        if is_full(folder, error):
            raise DataError(f"{folder}: cannot be written ({error.strerror}); {MORE_SPACE}") from error
        raise
    finally:
        lock.release()


def write_atomically(content: Any, path: Path) -> None:
    """Write a cache file atomically; `content` supports the buffer protocol.

    Raises:
        DataError: the file cannot be written.
    """
    try:
        with atomic_file(path) as stream:
            os.fchmod(stream.fileno(), FILE_MODE)  # while it is still empty
            stream.write(content)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror}); {MORE_SPACE}") from None
