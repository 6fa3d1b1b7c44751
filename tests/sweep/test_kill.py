"""Killed, interrupted and shared sweeps lose no trial, repeat no finished trial, and leave no files."""

import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from optuna.trial import TrialState

from chirplet.sweep.trial.lease import Lease
from places import ROOT
from sweeps import command, facts, gone, here, study, wait_until, workers

N_TRIALS = 12
OVERRIDES = [f"hydra.sweeper.n_trials={N_TRIALS}", "sleep_s=0.15"]


def start(folder: Path, *overrides: str) -> psutil.Popen:
    """Start the command; its output is appended to `folder/said`."""
    folder.mkdir(exist_ok=True)
    with (folder / "said").open("a") as said:
        return psutil.Popen(command(folder, *overrides), cwd=ROOT, stdout=said, stderr=said)


def size(folder: Path) -> int:
    journal = folder / "study.journal"
    return journal.stat().st_size if journal.exists() else 0


def said(folder: Path) -> str:
    return (folder / "said").read_text()


def leave(processes: list[psutil.Process]) -> None:
    wait_until(lambda: all(gone(process) for process in processes))


@dataclass
class Broken:
    """A sweep that is killed several times and then runs to its end; its last trial waits for the last kill."""

    folder: Path
    overrides: list[str]
    gate: Path
    moments: list[float] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    exit_code: int | None = None

    def kill(self, count: int, rng: random.Random) -> None:
        """Kill the main process of the command at random moments after its first output; then let it run."""
        done: dict[int, tuple] = {}
        while len(self.moments) < count:
            before = size(self.folder)
            process = start(self.folder, *self.overrides)
            wait_until(lambda before=before, process=process: size(self.folder) > before or process.poll() is not None)
            assert process.poll() is None, said(self.folder)
            self.moments.append(rng.uniform(0, 0.7))
            time.sleep(self.moments[-1])
            children = workers(process)
            process.kill()
            assert process.wait() == -signal.SIGKILL
            leave(children)
            now = {trial[0]: trial for trial in facts(study(self.folder).trials) if trial[1] == TrialState.COMPLETE}
            self.lost += [
                f"{trial} became {now.get(number)}" for number, trial in done.items() if now.get(number) != trial
            ]
            done = now
        self.gate.touch()
        process = start(self.folder, *self.overrides)
        children = []
        while process.poll() is None:
            children = workers(process) or children
            time.sleep(0.1)
        self.exit_code = process.returncode
        leave(children)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("unbroken")


@pytest.fixture(scope="module")
def broken(unbroken, tmp_path_factory) -> tuple[Broken, Broken]:
    """Two sweeps, killed at the same time: one with two worker processes, one with a worker in the main process."""
    gates = tmp_path_factory.mktemp("gates")

    def made(name: str, *overrides: str) -> Broken:
        shut = [f"gate={gates / name}", f"gate_from={N_TRIALS - 1}"]
        return Broken(tmp_path_factory.mktemp(name), [*OVERRIDES, *shut, *overrides], gates / name)

    pair = made("pair", "hydra.sweeper.n_jobs=2")
    single = made("single", "hydra.sweeper.isolate=false")
    with ThreadPoolExecutor() as threads:
        runs = [threads.submit(pair.kill, 6, random.Random(1)), threads.submit(single.kill, 2, random.Random(2))]
        here(unbroken, *OVERRIDES)
    for run in runs:
        run.result()
    return pair, single


def test_six_kills_lose_no_trial_and_add_none(broken):
    pair, _ = broken
    assert pair.lost == []
    assert pair.exit_code == 0
    trials = study(pair.folder).trials
    assert [(trial.number, trial.state) for trial in trials] == [(number, TrialState.COMPLETE) for number in range(12)]
    assert all((pair.folder / str(number) / ".hydra" / "config.yaml").exists() for number in range(12))


def test_a_killed_worker_gives_the_trials_of_an_uninterrupted_one(broken, unbroken):
    _, single = broken
    assert single.lost == []
    assert single.exit_code == 0
    assert facts(study(single.folder).trials) == facts(study(unbroken).trials)


def test_two_commands_share_a_sweep(tmp_path):
    folder, ledger = tmp_path / "sweep", tmp_path / "ledger"
    gate = tmp_path / "gate"  # shut until each has a trial
    overrides = ["hydra.sweeper.n_trials=8", f"gate={gate}", f"ledger={ledger}", "hydra.sweeper.isolate=false"]
    both = [start(folder, *overrides) for _ in range(2)]
    wait_until(lambda: ledger.exists() and len(ledger.read_text().split()) == 2)
    gate.touch()
    assert [process.wait() for process in both] == [0, 0], said(folder)
    trials = study(folder).trials
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 8
    assert sorted(ledger.read_text().split()) == list("01234567")
    assert {Lease.read(trial.user_attrs).owner.pid for trial in trials} == {process.pid for process in both}
    assert said(folder).count("best trials (of 8)") == 2


def test_ctrl_c_releases_the_trials_and_the_same_command_resumes(tmp_path):
    folder, ledger, gate = tmp_path / "sweep", tmp_path / "ledger", tmp_path / "gate"
    overrides = ["hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=2", f"gate={gate}", f"ledger={ledger}"]
    process = start(folder, *overrides)
    wait_until(ledger.exists)
    children = workers(process)
    assert len(children) == 2
    process.send_signal(signal.SIGINT)
    process.wait()
    leave(children)
    assert "interrupted: 0 of 2 trials are done; the same command resumes" in said(folder)
    given_back = study(folder).trials
    assert given_back
    for trial in given_back:
        assert trial.state == TrialState.RUNNING
        assert Lease.read(trial.user_attrs).owner is None
    gate.touch()
    here(folder, *overrides, "hydra.sweeper.n_jobs=1")
    trials = study(folder).trials
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 2
    assert [trial.params for trial in trials[: len(given_back)]] == [trial.params for trial in given_back]
