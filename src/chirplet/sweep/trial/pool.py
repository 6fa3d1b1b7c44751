"""Workers in processes of their own on this machine, the cores and the GPUs split among them.

A process that is killed, by the kernel for want of memory say, takes its trial with it but not the sweep: the trial is
run once more, and counts as failed the second time.
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
"""How long an interrupted worker may take to save and leave."""

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
"""Environment variables that libraries read their number of threads from."""


@dataclass
class _Process:
    popen: "subprocess.Popen[bytes]"
    place: int
    log: Path
    crashes: int

    def said(self) -> list[str]:
        """Lines that the process has written."""
        return self.log.read_text(encoding="utf-8", errors="replace").splitlines()


class Pool:
    """Processes that import what a worker needs as soon as they are started, and work when there is something to do."""

    def __init__(self, processes: int) -> None:
        self._logs = tempfile.TemporaryDirectory(prefix="chirplet-sweep-")
        self._threads = {}
        if processes > 1:
            share = str(max(1, cpu_cores() // processes))
            self._threads = {name: share for name in THREADS if name not in os.environ}
        self._processes = [self._started(place, 0) for place in range(processes)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()
        self._logs.cleanup()

    def run(self, worker: Worker, claims: Claims, variables: Sequence[Mapping[str, str]]) -> None:
        """Let all work until they have ended well; each, and whichever replaces it, with its own `variables`.

        Raises:
            ConfigError: a trial could not be composed.
            SweepError: workers died again and again without having run a trial.
            KeyboardInterrupt: Ctrl-C.
        """
        payloads = [cloudpickle.dumps((Singleton.get_state(), worker, dict(own))) for own in variables]
        for process in self._processes:
            _give(process, payloads[process.place])
        while self._processes:
            time.sleep(POLL_S)
            for process in [process for process in self._processes if process.popen.poll() is not None]:
                self._processes.remove(process)
                code = process.popen.returncode
                if code == Interrupted.exit_code:
                    raise KeyboardInterrupt
                if code == CONFIGURATION:
                    lines = process.said()
                    raise ConfigError("\n".join(line.removeprefix(ERROR) for line in lines if line.startswith(ERROR)))
                if code != DONE:
                    self._replace(process, claims, payloads[process.place])

    def _replace(self, process: _Process, claims: Claims, payload: bytes) -> None:
        code = process.popen.returncode
        if code < 0:
            reason = f"its process was killed by signal {signal.Signals(-code).name}"
            reason += " (out of memory?)" if code == -signal.SIGKILL else ""
        else:
            reason = next(reversed(process.said()), f"exit code {code}")
        had_trial = claims.fail_worker(process.popen.pid, reason)
        crashes = 0 if had_trial else process.crashes + 1
        if crashes > 1:
            raise SweepError(f"workers die before they have a trial: {reason}")
        self._processes.append(self._started(process.place, crashes))
        _give(self._processes[-1], payload)

    def _started(self, place: int, crashes: int) -> _Process:
        log = Path(self._logs.name) / f"{place}.log"
        with log.open("ab") as output:
            popen = subprocess.Popen(
                [sys.executable, "-m", "chirplet.sweep.trial.process"],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                # Ctrl-C reaches the parent alone, which passes it on once; a second one would end a worker unsaved.
                start_new_session=True,
                env=environment(**self._threads),
            )
        return _Process(popen, place, log, crashes)

    def _stop(self) -> None:
        """Ask those that still run to save and leave, and end those that do not."""
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
    # One that died at once is found by its exit code.
    with suppress(BrokenPipeError):
        process.popen.stdin.writelines(framed(payload))
        process.popen.stdin.flush()
