"""Further processes for one training; everything else than `fit` is done by this one alone.

This process is the first of them: callbacks that write or tell something, loggers and the result are its own, and an
interruption, a pruned trial or an error of its own need nobody's consent. The others are given what it has, go through
the same steps, each on its share of every batch, and are ended when it leaves the training, however it does.
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
"""How long the others may take to end after the last step."""
EXIT_S = 2.0
"""How long it may take until a process whose connection was lost is known to have ended."""

logger = logging.getLogger(__name__)


@contextmanager
def processes(
    run: Run,
    module: pl.LightningModule,
    train_loader: DataLoader[Any],
    val_loader: DataLoader[Any] | None,
    checkpoint: str | None,
) -> Iterator[Shard | None]:
    """The others of `trainer.devices` train along within this block; this process's share, None if it is alone.

    Raises:
        ConfigError: there are not so many devices.
        ProcessError: another process ended.
    """
    count = run.trainer.devices
    if count == 1:
        yield None
        return
    run.trainer.check_devices()
    threads = run.trainer.threads or max(1, torch.get_num_threads() // count)
    loaders = [loader for loader in (train_loader, val_loader) if loader is not None]
    with ExitStack() as stack:
        meeting = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chirplet-processes-")))
        others = stack.enter_context(_Others(meeting, count - 1))
        others.give(
            lambda shard: DDPTask(run, module, train_loader, val_loader, checkpoint, meeting, shard, threads), count
        )
        stack.enter_context(joined(run, meeting, Shard(0, count), threads, loaders))
        try:
            yield Shard(0, count)
        except RuntimeError as error:  # what torch raises when a connection is lost
            found = others.first_exited(EXIT_S)
            if found is None:
                raise
            raise others.exit_reason(*found) from error
        others.end()


class _Others:
    """The processes with ranks from 1 on."""

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
                    start_new_session=True,  # Ctrl-C is for the first process alone
                    env=environment(),
                )

    def __enter__(self) -> "_Others":
        return self

    def __exit__(self, *error: object) -> None:
        for process in self.started.values():
            process.kill()
        for process in self.started.values():
            process.wait()
            if process.stdin is not None:
                with suppress(BrokenPipeError):
                    process.stdin.close()

    def give(self, task: Callable[[Shard], DDPTask], count: int) -> None:
        """Send each of all `count` but the first its task, and wait until they have it.

        Raises:
            ProcessError: one ended before.
        """
        for rank, process in self.started.items():
            assert process.stdin is not None
            # One that died at once is found below.
            with suppress(BrokenPipeError):
                process.stdin.writelines(framed(_pickled(task(Shard(rank, count)))))
                process.stdin.flush()
        while not all((self.meeting / f"{rank}.ready").exists() for rank in self.started):
            found = self.first_exited(POLL_S)
            if found is not None:
                raise self.exit_reason(*found)

    def first_exited(self, patience_s: float) -> tuple[int, int] | None:
        """Rank and exit code of the process that ended first, if one does within so many seconds."""
        deadline = time.monotonic() + patience_s
        while True:
            codes = [(rank, code) for rank, process in self.started.items() if (code := process.poll()) is not None]
            if codes:
                # One that was killed says nothing; others complain only after it.
                return min(codes, key=lambda found: (found[1] >= 0, self._log(found[0]).stat().st_mtime))
            if time.monotonic() > deadline:
                return None
            time.sleep(POLL_S)

    def exit_reason(self, rank: int, code: int) -> ProcessError:
        """What there is to say of one that ended; its traceback as a note."""
        said = self._log(rank).read_text(encoding="utf-8", errors="replace")
        lines = [line for line in said.splitlines() if line.strip()]
        if code < 0:
            reason = f"was killed by signal {signal.Signals(-code).name}"
            reason += " (out of memory?)" if code == -signal.SIGKILL else ""
        else:
            told = next((line.removeprefix(ERROR) for line in lines if line.startswith(ERROR)), None)
            reason = f"ended: {told or next(reversed(lines), f'exit code {code}')}"
        error = ProcessError(f"training process {rank + 1} of {len(self.started) + 1} {reason}")
        if lines:
            error.add_note(said)
        return error

    def end(self) -> None:
        """Wait until all have come to their end too."""
        deadline = time.monotonic() + END_S
        for rank, process in self.started.items():
            with suppress(subprocess.TimeoutExpired):
                if process.wait(max(0.0, deadline - time.monotonic())) != DONE:
                    logger.warning("after the last step: %s", self.exit_reason(rank, process.returncode))

    def _log(self, rank: int) -> Path:
        return self.meeting / f"{rank}.log"


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Also of modules with parametrizations, which torch refuses: in files they would outlive their classes."""

    def reducer_override(self, obj: Any) -> Any:
        """Make such a module of its class, whatever that is called, and its attributes."""
        if isinstance(obj, nn.Module) and is_parametrized(obj):
            return copyreg.__newobj__, (type(obj),), obj.__dict__, None, None, _fill  # type: ignore[attr-defined]
        return super().reducer_override(obj)


def _fill(module: nn.Module, attributes: dict[str, Any]) -> None:
    module.__dict__.update(attributes)


def _pickled(task: Any) -> bytes:
    stream = io.BytesIO()
    _Pickler(stream).dump(task)
    return stream.getvalue()
