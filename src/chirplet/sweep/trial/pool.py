"""Worker processes on this machine, which share its cores and GPUs.

If a worker is killed, for example by the kernel when memory runs out, the sweep continues: the trial runs once more,
and counts as failed the second time.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import cloudpickle
from hydra.core.singleton import Singleton

from chirplet.sweep.trial.claim import Claims
from chirplet.sweep.trial.process import CONFIGURATION
from chirplet.sweep.trial.worker import Worker
from chirplet.system.child_process import DONE, ERROR, environment, framed
from chirplet.system.error import ConfigError, Interrupted, SweepError
from chirplet.system.hardware import cpu_cores

POLL_S = 0.1
PATIENCE_S = 30.0
"""Seconds that an interrupted worker may take to save and exit."""

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
"""Environment variables with the number of threads of libraries."""


@dataclass
class _Process:
    popen: "subprocess.Popen[bytes]"
    index: int
    log: Path
    crashes: int

    def output_lines(self) -> list[str]:
        """The lines that the process has printed."""
        return self.log.read_text(encoding="utf-8", errors="replace").splitlines()


class Pool:
    """Worker processes. They start importing libraries at once and receive their worker in `run`."""

    def __init__(self, processes: int) -> None:
        self._logs = tempfile.TemporaryDirectory(prefix="chirplet-sweep-")
        self._threads = {}
        if processes > 1:
            share = str(max(1, cpu_cores() // processes))
            self._threads = {name: share for name in THREADS if name not in os.environ}
        self._processes = [self._start(index, 0) for index in range(processes)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()
        self._logs.cleanup()

    def run(self, worker: Worker, claims: Claims, variables: Sequence[Mapping[str, str]]) -> None:
        """Run the worker in each process until all have finished. `variables` has one environment per process.

        Raises:
            ConfigError: a trial could not be composed.
            SweepError: two workers in a row exited before they got a trial.
            KeyboardInterrupt: Ctrl-C.
        """
        payloads = [cloudpickle.dumps((Singleton.get_state(), worker, dict(extra))) for extra in variables]
        for process in self._processes:
            _give(process, payloads[process.index])
        while self._processes:
            time.sleep(POLL_S)
            for process in [process for process in self._processes if process.popen.poll() is not None]:
                self._processes.remove(process)
                code = process.popen.returncode
                if code == Interrupted.exit_code:
                    raise KeyboardInterrupt
                if code == CONFIGURATION:
                    lines = process.output_lines()
                    raise ConfigError("\n".join(line.removeprefix(ERROR) for line in lines if line.startswith(ERROR)))
                if code != DONE:
                    self._replace(process, claims, payloads[process.index])

    def _replace(self, process: _Process, claims: Claims, payload: bytes) -> None:
        code = process.popen.returncode
        if code < 0:
            reason = f"its process was killed by signal {signal.Signals(-code).name}"
            reason += " (out of memory?)" if code == -signal.SIGKILL else ""
        else:
            reason = next(reversed(process.output_lines()), f"exit code {code}")
        had_trial = claims.fail_worker(process.popen.pid, reason)
        crashes = 0 if had_trial else process.crashes + 1
        if crashes > 1:
            raise SweepError(f"workers exit before they get a trial: {reason}")
        self._processes.append(self._start(process.index, crashes))
        _give(self._processes[-1], payload)

    def _start(self, index: int, crashes: int) -> _Process:
        log = Path(self._logs.name) / f"{index}.log"
        with log.open("ab") as output:
            popen = subprocess.Popen(
                [sys.executable, "-m", "chirplet.sweep.trial.process"],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                # Ctrl-C reaches only the parent, which sends it on once; a second one would stop a worker from saving.
                start_new_session=True,
                env=environment(**self._threads),
            )
        return _Process(popen, index, log, crashes)

    def _stop(self) -> None:
        """Ask running workers to save and exit, then kill those that do not."""
        for process in self._processes:
            process.popen.send_signal(signal.SIGINT)
        deadline = time.monotonic() + PATIENCE_S
        for process in self._processes:
            try:
                process.popen.wait(max(0.0, deadline - time.monotonic()))
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                process.popen.kill()
                process.popen.wait()


def _give(process: _Process, payload: bytes) -> None:
    assert process.popen.stdin is not None
    # The exit code shows that a process exited at once.
    with suppress(BrokenPipeError):
        process.popen.stdin.writelines(framed(payload))
        process.popen.stdin.flush()
