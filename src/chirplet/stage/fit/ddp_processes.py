"""Start and stop the worker processes of distributed training.

This process has rank 0. It alone runs loggers and the callbacks that write or report, handles interruptions and pruned
trials, and returns the result. The workers receive a copy of the module and loaders, run the same steps on their shards
of every batch, and are killed when this process leaves the training for any reason.
"""

import copyreg
import io
import logging
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import cloudpickle
import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized
from torch.utils.data import DataLoader

from chirplet.data.batching.batches import Shard
from chirplet.stage.fit.ddp_group import joined
from chirplet.stage.fit.ddp_worker import DDPTask
from chirplet.stage.run.context import Run
from chirplet.system.child_process import DONE, ERROR, environment, framed
from chirplet.system.error import ProcessError

POLL_S = 0.05
END_S = 30.0
"""Seconds that workers may take to exit after the last step."""
EXIT_S = 2.0
"""Seconds to wait for the exit code of a worker whose connection was lost."""

logger = logging.getLogger(__name__)


@contextmanager
def processes(
    run: Run,
    module: pl.LightningModule,
    train_loader: DataLoader[Any],
    val_loader: DataLoader[Any] | None,
    checkpoint: str | None,
) -> Iterator[Shard | None]:
    """Run the workers of `trainer.devices` within this block. Yields this process's shard, None for a single process.

    Raises:
        ProcessError: a worker exited.
    """
    count = run.trainer.devices
    if count == 1:
        yield None
        return
    threads = run.trainer.threads or max(1, torch.get_num_threads() // count)
    loaders = [loader for loader in (train_loader, val_loader) if loader is not None]
    with ExitStack() as stack:
        meeting = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chirplet-processes-")))
        workers = stack.enter_context(_Workers(meeting, count - 1))
        workers.send(
            lambda shard: DDPTask(run, module, train_loader, val_loader, checkpoint, meeting, shard, threads), count
        )
        stack.enter_context(joined(run, meeting, Shard(0, count), threads, loaders))
        try:
            yield Shard(0, count)
        except RuntimeError as error:  # what torch raises when a connection is lost
            exited = workers.first_exited(EXIT_S)
            if exited is None:
                raise
            raise workers.exit_reason(*exited) from error
        workers.wait()


class _Workers:
    """The processes with ranks from 1."""

    def __init__(self, meeting: Path, count: int) -> None:
        self.meeting = meeting
        self.started: dict[int, subprocess.Popen[bytes]] = {}
        for rank in range(1, count + 1):
            with self._log(rank).open("wb") as log:
                self.started[rank] = subprocess.Popen(
                    [sys.executable, "-m", "chirplet.stage.fit.ddp_worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    start_new_session=True,  # so that Ctrl-C reaches the first process only
                    env=environment(),
                )

    def __enter__(self) -> "_Workers":
        return self

    def __exit__(self, *error: object) -> None:
        for process in self.started.values():
            process.kill()
        for process in self.started.values():
            process.wait()
            if process.stdin is not None:
                with suppress(BrokenPipeError):
                    process.stdin.close()

    def send(self, task: Callable[[Shard], DDPTask], count: int) -> None:
        """Send each worker the task for its shard of `count`, and wait until all have received it.

        Raises:
            ProcessError: a worker exited before.
        """
        for rank, process in self.started.items():
            assert process.stdin is not None
            # The loop below reports a worker that exited before it read its task.
            with suppress(BrokenPipeError):
                process.stdin.writelines(framed(_pickled(task(Shard(rank, count)))))
                process.stdin.flush()
        while not all((self.meeting / f"{rank}.ready").exists() for rank in self.started):
            exited = self.first_exited(POLL_S)
            if exited is not None:
                raise self.exit_reason(*exited)

    def first_exited(self, patience_s: float) -> tuple[int, int] | None:
        """Rank and exit code of the worker that exited first, None if none exits within `patience_s` seconds."""
        deadline = time.monotonic() + patience_s
        while True:
            codes = [(rank, code) for rank, process in self.started.items() if (code := process.poll()) is not None]
            if codes:
                # Prefer a killed worker, which logs nothing: the others fail because of it.
                return min(codes, key=lambda exited: (exited[1] >= 0, self._log(exited[0]).stat().st_mtime))
            if time.monotonic() > deadline:
                return None
            time.sleep(POLL_S)

    def exit_reason(self, rank: int, code: int) -> ProcessError:
        """The error for a worker that exited, with its log as a note."""
        log = self._log(rank).read_text(encoding="utf-8", errors="replace")
        lines = [line for line in log.splitlines() if line.strip()]
        if code < 0:
            reason = f"was killed by signal {signal.Signals(-code).name}"
            reason += " (out of memory?)" if code == -signal.SIGKILL else ""
        else:
            message = next((line.removeprefix(ERROR) for line in lines if line.startswith(ERROR)), None)
            reason = f"exited: {message or next(reversed(lines), f'exit code {code}')}"
        error = ProcessError(f"training process {rank + 1} of {len(self.started) + 1} {reason}")
        if lines:
            error.add_note(log)
        return error

    def wait(self) -> None:
        """Wait until all workers have exited, at most `END_S` seconds."""
        deadline = time.monotonic() + END_S
        for rank, process in self.started.items():
            with suppress(subprocess.TimeoutExpired):
                if process.wait(max(0.0, deadline - time.monotonic())) != DONE:
                    logger.warning("after the last step: %s", self.exit_reason(rank, process.returncode))

    def _log(self, rank: int) -> Path:
        return self.meeting / f"{rank}.log"


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """A pickler that accepts modules with parametrizations. Torch refuses them, since their classes are dynamic."""

    def reducer_override(self, obj: Any) -> Any:
        """Reduce a parametrized module to its class and its attributes."""
        if isinstance(obj, nn.Module) and is_parametrized(obj):
            return copyreg.__newobj__, (type(obj),), obj.__dict__, None, None, _fill  # type: ignore[attr-defined]
        return super().reducer_override(obj)


def _fill(module: nn.Module, attributes: dict[str, Any]) -> None:
    module.__dict__.update(attributes)


def _pickled(task: Any) -> bytes:
    stream = io.BytesIO()
    _Pickler(stream).dump(task)
    return stream.getvalue()
