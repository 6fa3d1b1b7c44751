"""Runs in processes of their own, to be killed: forked from one that has imported everything, so each costs little."""

import os
import random
import signal
import sys
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from chirplet.artifact import Artifact, content_id
from forked import FORKED
from places import CONF, ROOT


def start(overrides: list[str], folder: Path) -> BaseProcess:
    """Start a run that writes to `folder`, as `python run.py hydra.run.dir=FOLDER` would; it says to `FOLDER.said`."""
    process = FORKED.Process(target=_run, args=(overrides, folder), daemon=True)
    process.start()
    return process


def said(folder: Path) -> str:
    return _said(folder).read_text(encoding="utf-8")


def done(overrides: list[str], folder: Path) -> Path:
    """Such a run, to its end."""
    process = start(overrides, folder)
    process.join(120)
    assert process.exitcode == 0, said(folder)
    return folder


def _said(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.said")


FSYNC = os.fsync


def _slow_fsync(descriptor: int) -> None:
    """As on a slow disk: most of the time that something is being written is spent here, so that it can be met."""
    time.sleep(0.02)
    FSYNC(descriptor)


def _run(overrides: list[str], folder: Path) -> None:
    from hydra import compose, initialize_config_dir

    from chirplet.error import UserError
    from chirplet.experiment import execute
    from chirplet.stage.resuming import interruptible

    os.chdir(ROOT)
    os.fsync = _slow_fsync
    with _said(folder).open("a", encoding="utf-8", buffering=1) as file:
        sys.stdout = sys.stderr = file
        try:
            with (
                initialize_config_dir(config_dir=str(CONF), version_base="1.3"),
                interruptible(folder, f"hydra.run.dir={folder}"),
            ):
                execute(compose("config", overrides=overrides), folder, overrides)
        except UserError as error:
            print(f"error: {error}")
            sys.exit(error.exit_code)


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


def writing(folder: Path, name: str, before: Collection[str] = ()) -> bool:
    """Whether a file or folder of this name is being written anywhere below `folder`; `before` were leftovers."""
    return any(Path(path).name.startswith(f".{name}.") and path not in before for path in leftovers(folder))


@dataclass
class Broken:
    """A command that is killed again and again; `torn` counts the kills in the midst of writing."""

    overrides: list[str]
    base: Path
    seconds: float
    """How long it takes when it is left alone."""
    rng: random.Random
    kills: int = 0
    torn: int = 0
    rounds: int = 0
    seen: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return self.base / str(self.rounds)

    def kill(self, while_writing: str | None = None) -> None:
        """Kill it once, while something is written or at a random moment; where it was done before, begin once more."""
        while True:
            before = leftovers(self.folder)
            process = start(self.overrides, self.folder)
            deadline = time.monotonic() + self.rng.uniform(0.0, 0.9 * self.seconds)
            while process.is_alive() and not (
                time.monotonic() > deadline if while_writing is None else writing(self.folder, while_writing, before)
            ):
                time.sleep(0.0005)
            with suppress(ProcessLookupError):
                os.kill(process.pid or 0, signal.SIGKILL)
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
