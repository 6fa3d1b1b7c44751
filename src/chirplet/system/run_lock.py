"""Lock of a run's output folder: one run at a time writes to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chirplet.system.atomic_io import LOCK, NO_LOCKS, remove_leftovers
from chirplet.system.error import ArtifactError, ConfigError

WITHIN = ("", "checkpoints", "label_only_baseline/checkpoints")
"""Subfolders to which a run writes."""


@contextmanager
def lock_output(folder: Path) -> Iterator[None]:
    """Lock `folder` while the block runs, and remove the temporary files of killed runs.

    The lock is released when the process ends. A process may lock a folder several times: a chain compares its steps in
    its folder. DDP workers (`chirplet.stage.fit.ddp_worker`) take no lock, so LOCAL_RANK and RANK do not matter here.

    Raises:
        ConfigError: another run is writing to the folder.
        ArtifactError: the folder cannot be created or written.
    """
    from filelock import FileLock, Timeout

    shown = str(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.resolve() / LOCK, timeout=0, is_singleton=True, fallback_to_soft=False)
        lock.acquire()
    except Timeout:
        if not (folder / LOCK).exists():  # filelock reports an unwritable folder as a timeout
            raise ArtifactError(f"could not write to {shown!r}; give another hydra.run.dir") from None
        raise ConfigError(
            f"hydra.run.dir: another run is writing to {shown!r}; wait for it, or give another folder"
        ) from None
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        where = " on a disk with file locks" if getattr(error, "errno", None) in NO_LOCKS else ""
        raise ArtifactError(f"could not write to {shown!r}: {reason}; give another hydra.run.dir{where}") from error
    try:
        for within in WITHIN:
            remove_leftovers(folder / within)
        yield
    finally:
        lock.release()
