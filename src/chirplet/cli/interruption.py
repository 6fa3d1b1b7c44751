"""What an interrupted command reports."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chirplet.artifact.artifact import RECORD
from chirplet.callback.base import LAST
from chirplet.system.ending_signals import ending_as_ctrl_c
from chirplet.system.error import Interrupted


@contextmanager
def interruptible(output_dir: Path, same_folder: str) -> Iterator[None]:
    """Let signals end the block as Ctrl-C does, and report the checkpoint that the block wrote, if it is of use.

    `same_folder` are the overrides with which the same command resumes from it.

    While a model is trained, `chirplet.callback.lightning.interruption.Interruption` listens instead.

    Raises:
        Interrupted: one of them came.
    """
    before = _unfinished(output_dir)
    with ending_as_ctrl_c():
        try:
            yield
        except KeyboardInterrupt as error:
            written = {path: time for path, time in _unfinished(output_dir).items() if before.get(path) != time}
            if not written:
                raise Interrupted("interrupted") from error
            newest_one = max(written, key=lambda path: written[path])
            raise Interrupted(
                f"interrupted; what was trained is in {newest_one}, "
                f"and the same command with {same_folder} resumes from it"
            ) from error


def _unfinished(output_dir: Path) -> dict[Path, int]:
    """The last checkpoints of trainings whose artifact is not written yet, with the times at which they changed."""
    found = [path for parent in ("", "*/", "*/*/") for path in output_dir.glob(f"{parent}checkpoints/{LAST}")]
    return {path: path.stat().st_mtime_ns for path in found if not _is_done(path)}


def _is_done(checkpoint: Path) -> bool:
    """Whether the artifact is there; a label-only baseline's is in the folder above its own."""
    trained = checkpoint.parent.parent
    return any((folder / "artifact" / RECORD).exists() for folder in (trained, trained.parent))
