"""The folder that a run writes to: one run at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chirplet.system.atomic_io import LOCK, remove_leftovers
from chirplet.system.error import ArtifactError, ConfigError

WITHIN = ("", "checkpoints", "label_only_baseline/checkpoints")
"""Where in its folder a run writes."""


@contextmanager
def lock_output(folder: Path) -> Iterator[None]:
    """Keep other runs out of `folder` while the block runs, and first remove what a killed one was writing there.

    The lock dies with the process. A run may hold its folder several times over: a chain compares in its own. The
    processes that train along (`chirplet.stage.fit.ddp_worker`) do not come here, and whatever LOCAL_RANK or RANK says,
    a process that does carries out a run of its own.

    Raises:
        ConfigError: another run writes there.
        ArtifactError: the folder cannot be made or written.
    """
    from filelock import FileLock, Timeout

    shown = str(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK, timeout=0, is_singleton=True)
        lock.acquire()
    except Timeout:
        if not (folder / LOCK).exists():  # where files cannot be made at all, it does not say so
            raise ArtifactError(f"could not write to {shown!r}; give another hydra.run.dir") from None
        raise ConfigError(
            f"hydra.run.dir: another run is writing to {shown!r}; wait for it, or give another folder"
        ) from None
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ArtifactError(f"could not write to {shown!r}: {reason}; give another hydra.run.dir") from error
    try:
        for within in WITHIN:
            remove_leftovers(folder / within)
        yield
    finally:
        lock.release()
