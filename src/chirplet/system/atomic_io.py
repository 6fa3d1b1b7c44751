"""Files that are written atomically, and folders that one process at a time writes to.

What is being written lies beside its place under a name of its own, `.NAME.PID.tmp`, and its writer holds a lock on it
that the system takes back when the process ends, however it ends. So whoever comes next can tell what a killed process
has left from what another one is writing, and removes it.
"""

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from chirplet.system.error import ArtifactError, ConfigError

try:
    import fcntl
except ImportError as error:
    raise ConfigError("Windows is not supported: Python has no POSIX file locks (fcntl) here; in WSL it has") from error

LOCK = ".lock"
"""In a folder that is held, and hidden from whoever lists it."""

_TEMPORARY = re.compile(r"\..+\.\d+\.tmp")


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A stream that becomes `path` when the block ends well; otherwise `path` stays as it was.

    It is written to a temporary sibling, flushed to the disk, and renamed, so a crash leaves the old file or the new.

    Raises:
        OSError: the disk is full or the place cannot be written.
    """
    remove_leftovers(path.parent, path.name)
    temporary = temporary_of(path)
    try:
        with _locked_file(temporary) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text_atomically(text: str, path: Path) -> None:
    """Write a file in UTF-8, whole or not at all.

    Raises:
        OSError: as `whole_file`.
    """
    with atomic_file(path) as stream:
        stream.write(text.encode("utf-8"))


@contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """A new folder beside `path`, held while the block runs, to be renamed to it within; else it vanishes.

    Raises:
        OSError: the place cannot be written.
    """
    remove_leftovers(path.parent, path.name)
    temporary = temporary_of(path)
    temporary.mkdir(parents=True)
    descriptor = os.open(temporary, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks: nobody finds out then, and nobody removes it
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield temporary
    finally:
        os.close(descriptor)
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder below `$TMPDIR` for the length of the block.

    Raises:
        ArtifactError: there is no room left below `$TMPDIR`.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            yield Path(folder)
        except OSError as error:
            # As long as the folder is there; else it is another place that is full.
            if error.errno == errno.ENOSPC and shutil.disk_usage(folder).free < _ROOM:
                place = str(Path(folder).parent)
                raise ArtifactError(
                    f"could not write to {place!r}: {error.strerror}; TMPDIR=DIR names another place"
                ) from error
            raise


_ROOM = 1 << 20
"""Bytes."""


def temporary_of(path: Path) -> Path:
    """Where this process writes what is to become `path`."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def remove_leftovers(folder: Path, name: str | None = None) -> None:
    """Remove what killed processes were writing in `folder`, or to `name` in it; what is being written stays."""
    if not folder.is_dir():
        return
    pattern = _TEMPORARY if name is None else re.compile(rf"\.{re.escape(name)}\.\d+\.tmp")
    for path in [folder / entry.name for entry in os.scandir(folder) if pattern.fullmatch(entry.name)]:
        # It may have been renamed in the meantime; and where one may not remove it, it is in nobody's way.
        with suppress(OSError):
            _remove_unlocked(path)


def _remove_unlocked(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    finally:
        os.close(descriptor)


@contextmanager
def _locked_file(path: Path) -> Iterator[BinaryIO]:
    while True:
        with path.open("wb") as stream:
            with suppress(OSError):  # as above
                fcntl.flock(stream, fcntl.LOCK_EX)
            # Between the two, another process may have taken it for a leftover.
            if os.fstat(stream.fileno()).st_nlink:
                yield stream
                return
