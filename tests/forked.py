"""Commands in processes of their own, forked from one that has imported everything: what costs seconds costs nothing.

What depends on how a process begins (what it imports, libraries that read the environment when they are imported) needs
`subprocess` instead.
"""

import atexit
import logging
import multiprocessing
import os
import runpy
import sys
import tempfile
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from subprocess import CompletedProcess

from places import ROOT

FORKED = multiprocessing.get_context("forkserver")
# A process of tests has one such server, for commands and for what sweeps' tests start, whichever comes first.
FORKED.set_forkserver_preload(
    [
        *("warm", "pytest", "cloudpickle", "chirplet.sweep.trial.worker"),
        *("optuna.storages._rdb.models", "optuna.storages._rdb.storage", "alembic.command", "alembic.migration"),
        *("sqlalchemy.dialects.sqlite", "sqlalchemy.dialects.postgresql.psycopg"),
    ]
)
os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])


class Command:
    """`python run.py ARGUMENTS`, started; in its process `before` is carried out."""

    def __init__(
        self, *arguments: str, cwd: Path = ROOT, env: Mapping[str, str] | None = None, before: str = ""
    ) -> None:
        self.arguments = arguments
        with tempfile.NamedTemporaryFile(delete=False) as out, tempfile.NamedTemporaryFile(delete=False) as err:
            self._said = Path(out.name), Path(err.name)
        given = (arguments, self._said, cwd, dict(os.environ if env is None else env), before)
        self.process: BaseProcess = FORKED.Process(target=_run, args=given, daemon=True)
        self.process.start()
        assert self.process.pid is not None
        self.pid: int = self.process.pid

    def end(self) -> CompletedProcess[str]:
        """Wait for its end; what it said and its exit code, negative for a signal."""
        try:
            self.process.join()
        except BaseException:  # the suite's timeout is one
            self.process.kill()
            raise
        code = self.process.exitcode
        assert code is not None
        out, err = (path.read_text(encoding="utf-8") for path in self._said)
        for path in self._said:
            path.unlink()
        return CompletedProcess(self.arguments, code, out, err)


def command(
    *arguments: str, cwd: Path = ROOT, env: Mapping[str, str] | None = None, before: str = ""
) -> CompletedProcess[str]:
    """`python run.py ARGUMENTS`, to its end."""
    return Command(*arguments, cwd=cwd, env=env, before=before).end()


def _run(
    arguments: tuple[str, ...],
    said: tuple[Path, Path],
    cwd: Path,
    env: dict[str, str],
    before: str,
) -> None:
    for path, descriptor in zip(said, (1, 2), strict=True):
        with path.open("wb") as file:
            os.dup2(file.fileno(), descriptor)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", line_buffering=True)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    logging.getLogger().handlers.clear()
    script = str(ROOT / "run.py")
    sys.argv = [script, *arguments]
    try:
        exec(before, {})
        runpy.run_path(script, run_name="__main__")
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
