"""Atomic writes of files and folders.

A file or folder is written to the sibling `.NAME.PID.tmp` and then renamed. Its writer locks it, and the system
releases the lock when the process ends. The next process therefore recognises the leftovers of a killed one, which are
not locked, and removes them.
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
    raise ConfigError("Windows is not supported: Python has no POSIX file locks (fcntl) here; use WSL") from error

LOCK = ".lock"
"""Name of the lock file in a folder."""

NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
"""Errors of file systems that have no file locks, for example some of NFS."""

_TEMPORARY = re.compile(r"\..+\.\d+\.tmp")


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A stream that replaces `path` when the block ends without an error; otherwise `path` is unchanged.

    The file is written to a temporary sibling, flushed to disk and renamed, so a crash leaves the old file or the new.

    Raises:
        OSError: the disk is full, or the folder is not writable.
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
    """Write a UTF-8 file atomically.

    Raises:
        OSError: see `atomic_file`.
    """
    with atomic_file(path) as stream:
        stream.write(text.encode("utf-8"))


@contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """A new, locked sibling of `path`. The block renames it to `path`; otherwise it is removed when the block ends.

    Raises:
        OSError: the parent folder is not writable.
    """
    remove_leftovers(path.parent, path.name)
    temporary = temporary_of(path)
    temporary.mkdir(parents=True)
    descriptor = os.open(temporary, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks, where leftovers cannot be removed either
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield temporary
    finally:
        os.close(descriptor)
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder below `$TMPDIR` that is removed when the block ends.

    Raises:
        ArtifactError: the disk of `$TMPDIR` is full.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            yield Path(folder)
        except OSError as error:
            if is_full(Path(folder), error):  # checked before the folder is removed
                parent = str(Path(folder).parent)
                raise ArtifactError(
                    f"could not write to {parent!r}: {error.strerror}; set TMPDIR to a folder with more space"
                ) from error
            raise


_FULL = 1 << 20
"""Free bytes below which a disk counts as full."""


def is_full(folder: Path, error: OSError) -> bool:
    """Whether the error says that a disk is full, and it is that of `folder`."""
    return error.errno == errno.ENOSPC and shutil.disk_usage(folder).free < _FULL


def temporary_of(path: Path) -> Path:
    """The temporary sibling of `path` to which this process writes."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def check_writable(folder: Path, key: str) -> None:
    """Create `folder`, which `key` names, and write a file of 64 KiB there, which is removed again.

    Raises:
        ArtifactError: the disk is full or read-only, or the folder cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(1 << 16))
    except OSError as error:
        raise ArtifactError(f"could not write to {str(folder)!r}: {error.strerror}; give another {key}") from error


def check_space(folder: Path, size: int, key: str) -> None:
    """Check that `size` bytes fit into `folder`, which `key` names; what is in it counts as written already.

    Raises:
        ArtifactError: they certainly do not.
    """
    free = shutil.disk_usage(next(one for one in (folder, *folder.absolute().parents) if one.is_dir())).free
    if size <= free:
        return
    size -= sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if size > free:
        raise ArtifactError(
            f"could not write to {str(folder)!r}: the run writes {_mb(size)} at least, and {_mb(free)} are free; "
            f"make room, or give another {key}"
        )


def _mb(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


def remove_leftovers(folder: Path, name: str | None = None) -> None:
    """Remove temporary files of killed processes from `folder`, or only those of `name`; locked ones stay."""
    if not folder.is_dir():
        return
    pattern = _TEMPORARY if name is None else re.compile(rf"\.{re.escape(name)}\.\d+\.tmp")
    for path in [folder / entry.name for entry in os.scandir(folder) if pattern.fullmatch(entry.name)]:
        with suppress(OSError):  # it was renamed meanwhile, is locked, or cannot be removed, which does no harm
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
            with suppress(OSError):  # a file system without locks
                fcntl.flock(stream, fcntl.LOCK_EX)
            # Before it was locked, another process may have removed it as a leftover.
            if os.fstat(stream.fileno()).st_nlink:
                yield stream
                return
