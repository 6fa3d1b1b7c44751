"""SIGTERM ends a run as Ctrl-C does."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from chirplet.callback.base import LAST
from chirplet.system.error import Interrupted


@contextmanager
def interruptible(output_dir: Path, same_folder: str) -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, and report the checkpoint that is left.

    `same_folder` is the override that resumes from it.

    While a model is trained, `chirplet.callback.lightning.interruption.Interruption` listens instead.

    Raises:
        Interrupted: one of them came.
    """

    def end(number: int, frame: Any) -> NoReturn:
        raise KeyboardInterrupt

    listens = threading.current_thread() is threading.main_thread()
    listens = listens and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if listens:
        signal.signal(signal.SIGTERM, end)
    try:
        yield
    except KeyboardInterrupt as error:
        checkpoints = [path for parent in ("", "*/", "*/*/") for path in output_dir.glob(f"{parent}checkpoints/{LAST}")]
        if not checkpoints:
            raise Interrupted("interrupted") from error
        newest_one = max(checkpoints, key=lambda path: path.stat().st_mtime_ns)
        raise Interrupted(
            f"interrupted; what was trained is in {newest_one}, and the same command with {same_folder} resumes from it"
        ) from error
    finally:
        if listens:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
