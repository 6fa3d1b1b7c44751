"""Runs in processes of their own, to be killed: forked from one that has imported everything, so each costs little.

A run is killed at a moment that is counted, not timed: before one of the operations that change the file system. From
one to the next, what lies on the disk is the same, so that any state that a kill can leave may be met.
"""

import os
import random
import signal
import sys
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from chirplet.artifact.artifact import Artifact, content_id
from forked import FORKED
from isolated import here
from places import CONF, ROOT


@dataclass(frozen=True)
class Moment:
    """When a process sends itself a signal: before its `operation`-th change of the file system, counted from 0, or
    when it flushes a file of what is to be called `writing` to the disk."""

    operation: int | None = None
    writing: str | None = None
    number: int = signal.SIGKILL


NEVER = Moment()


def start(overrides: list[str], folder: Path, moment: Moment = NEVER) -> BaseProcess:
    """Start a run that writes to `folder`, as `python run.py hydra.run.dir=FOLDER` would; it says to `FOLDER.said`."""
    process = FORKED.Process(target=_run, args=(overrides, folder, moment), daemon=True)
    process.start()
    return process


def operations(folder: Path) -> int:
    """How often the last run that came to its end there changed the file system."""
    return int(_counted(folder).read_text())


def said(folder: Path) -> str:
    return _said(folder).read_text(encoding="utf-8")


def done(overrides: list[str], folder: Path) -> Path:
    """Such a run, to its end."""
    process = start(overrides, folder)
    process.join()
    assert process.exitcode == 0, said(folder)
    return folder


def _said(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.said")


def _counted(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.operations")


CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink"}
FSYNC = os.fsync


class Watch:
    """Counts what this process does to the file system, and sends the signal when its moment has come."""

    def __init__(self, moment: Moment) -> None:
        self.moment = moment
        self.count = 0

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Python reports every operation before it is carried out."""
        if (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        ) or event in CHANGES:
            self.change()

    def change(self) -> None:
        if self.count == self.moment.operation:
            self.send()
        self.count += 1

    def send(self) -> None:
        number, self.moment = self.moment.number, NEVER
        os.kill(os.getpid(), number)

    def fsync(self, descriptor: int) -> None:
        """Counted here, because Python does not report it."""
        self.change()
        wanted = self.moment.writing
        if wanted is not None:
            parts = Path(f"/proc/self/fd/{descriptor}").readlink().parts
            if any(part.startswith(f".{wanted}.") and part.endswith(".tmp") for part in parts):
                self.send()
        FSYNC(descriptor)


def _run(overrides: list[str], folder: Path, moment: Moment) -> None:
    from hydra import compose, initialize_config_dir

    from chirplet.cli.experiment import execute
    from chirplet.cli.interruption import interruptible
    from chirplet.system.error import UserError

    os.chdir(ROOT)
    watch = Watch(moment)
    os.fsync = watch.fsync
    sys.addaudithook(watch.audit)
    with _said(folder).open("a", encoding="utf-8", buffering=1) as file:
        sys.stdout = sys.stderr = file
        try:
            with (
                here(),
                initialize_config_dir(config_dir=str(CONF), version_base="1.3"),
                interruptible(folder, f"hydra.run.dir={folder}"),
            ):
                execute(compose("config", overrides=overrides), folder, overrides)
        except UserError as error:
            print(f"error: {error}")
            sys.exit(error.exit_code)
    _counted(folder).write_text(str(watch.count))


def artifacts(folder: Path) -> dict[str, str]:
    """Ids of the artifacts that are to be seen below `folder`; each is what its record says."""
    found = {}
    for path in sorted(folder.glob("**/artifact")):
        identity = Artifact.open(path).record.id
        assert identity == content_id(path), path
        found[path.relative_to(folder).as_posix()] = identity
    return found


def leftovers(folder: Path) -> list[str]:
    """What was being written below `folder` when its writer was killed."""
    found = []
    for path, folders, files in os.walk(folder):
        found += [str(Path(path, name).relative_to(folder)) for name in (*folders, *files) if name.endswith(".tmp")]
    return found


def sound(folder: Path) -> dict[str, str]:
    """As `artifacts`; every checkpoint that is to be seen can be read, too."""
    for path in folder.glob("**/*.ckpt"):
        assert torch.load(path, weights_only=True)["state_dict"]
    return artifacts(folder)


@dataclass
class Broken:
    """A command that is killed again and again; `torn` counts the kills in the midst of writing.

    `ROUND` in its overrides stands for the number of the folder, a new one each time that it came to its end.
    """

    given: list[str]
    base: Path
    operations: int
    """How many there are when it is left alone."""
    rng: random.Random
    kills: int = 0
    torn: int = 0
    rounds: int = 0
    seen: dict[str, str] = field(default_factory=dict)

    @property
    def overrides(self) -> list[str]:
        return [override.replace("ROUND", str(self.rounds)) for override in self.given]

    @property
    def folder(self) -> Path:
        return self.base / str(self.rounds)

    def kill(self, while_writing: str | None = None) -> None:
        """Kill it once, while something is written or at a random moment; where it was done before, begin once more."""
        while True:
            before = leftovers(self.folder)
            operation = None if while_writing else self.rng.randrange(self.operations)
            process = start(self.overrides, self.folder, Moment(operation, while_writing))
            process.join()
            if process.exitcode == -signal.SIGKILL:
                break
            assert process.exitcode == 0, said(self.folder)
            self.rounds, self.seen = self.rounds + 1, {}
        self.kills += 1
        self.torn += bool(set(leftovers(self.folder)).difference(before))
        now = sound(self.folder)
        assert now.items() >= self.seen.items(), "what was finished is lost"
        self.seen = now

    def end(self) -> dict[str, str]:
        """Let it go on to its end, and give the ids of what it made; nothing torn is left."""
        done(self.overrides, self.folder)
        assert not leftovers(self.folder)
        now = artifacts(self.folder)
        assert now.items() >= self.seen.items()
        return now
