"""One worker: the inputs and the results of its trials, and trials that another worker takes over."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
from filelock import FileLock, Timeout
from optuna.trial import TrialState

from chirplet.sweep.trial.lease import Lease
from chirplet.system.error import Interrupted
from sweeps import command, facts, here, study, table, wait_until

FAIL = TrialState.FAIL
# Two points of the space; the first fails with fail_at=2.
POINTS = "hydra.sweeper.enqueue=[{x: 0.3, y: 2}, {x: 0.8, y: 1}]"


def test_values_that_json_cannot_represent_do_not_change_the_study(tmp_path):
    for n_trials in (1, 2):
        here(tmp_path, f"hydra.sweeper.n_trials={n_trials}", "+tolerance=nan", "+weights={1: 0.5, 2: 1.5}")
    assert len(study(tmp_path).trials) == 2


def test_a_trial_has_the_layout_of_a_hydra_run(tmp_path):
    folder = tmp_path / "it's 50% [a=b], ü"
    assert here(folder, POINTS, "hydra.sweeper.n_trials=2") == 1.25
    assert (folder / "1" / ".hydra" / "config.yaml").read_text().splitlines()[:2] == ["x: 0.8", "'y': 1"]
    assert (folder / "1" / ".hydra" / "overrides.yaml").read_text().splitlines() == ["- x=0.8", "- y=1"]
    assert (folder / "1" / "app.log").exists()
    assert (folder / "1" / "output.log").read_text().startswith("x=0.8 y=1")
    assert [trial.number for trial in study(folder).trials] == [0, 1]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("error", "ValueError: y may not be 2"),
        ("nan", "value: is not a number"),
        ("nothing", "value: the run returned no value"),
    ],
)
def test_a_run_without_a_value_is_a_failed_trial_with_a_message(how, message, tmp_path):
    limits = ["hydra.sweeper.n_trials=1", "hydra.sweeper.max_failure_rate=1"]
    assert here(tmp_path, POINTS, *limits, "fail_at=2", f"how='{how}'") is None
    (trial,) = study(tmp_path).trials
    assert (trial.state, trial.user_attrs["failure"]) == (FAIL, message)
    assert [(row["state"], row["failure"], row["value"]) for row in table(tmp_path)] == [("failed", message, "")]


def test_one_value_for_two_objectives_is_a_failed_trial(tmp_path):
    directions = "hydra.sweeper.direction=[minimize,maximize]"
    here(tmp_path, directions, "hydra.sweeper.n_trials=1", "hydra.sweeper.max_failure_rate=1")
    assert study(tmp_path).trials[0].user_attrs["failure"] == "the run returned 1 values for 2 objectives"


def test_ctrl_c_in_a_custom_search_space_changes_no_trial(tmp_path):
    overrides = ["hydra.sweeper.custom_search_space=toy_space.cut_off_once", "hydra.sweeper.n_trials=1", "x=0"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
    here(whole, *overrides, f"ledger={whole}/ledger")
    (broken / "cut").touch()
    with pytest.raises(Interrupted, match="0 of 1 trials are done; the same command resumes"):
        here(broken, *overrides, f"ledger={broken}/ledger")
    assert study(broken).trials[0].params.keys() == {"y", "x"}
    here(broken, *overrides, f"ledger={broken}/ledger")
    assert [trial.params for trial in study(broken).trials] == [trial.params for trial in study(whole).trials]


def stop_between_writes(process: subprocess.Popen, folder: Path) -> None:
    """Stop a process while it has no lock, since the others would wait for the lock."""
    while True:
        process.send_signal(signal.SIGSTOP)
        try:
            for name in ("claim", "write"):
                with FileLock(folder / f"study.journal.{name}.lock", timeout=0.2):
                    pass
            return
        except Timeout:
            process.send_signal(signal.SIGCONT)


def test_a_stopped_worker_loses_its_trial_and_logs_it(tmp_path):
    """Two commands: one is stopped while it runs trial 0, the other takes it over, and the first one notices."""
    ledger, gate = tmp_path / "ledger", tmp_path / "gate"
    overrides = ["hydra.sweeper.n_trials=2", f"gate={gate}", f"ledger={ledger}", "hydra.sweeper.lease_s=0.5"]
    log = tmp_path / "log"
    with log.open("w") as output:
        stopped = subprocess.Popen(
            command(tmp_path / "sweep", *overrides, "hydra.sweeper.isolate=false"), stdout=output, stderr=output
        )
    try:
        wait_until(lambda: ledger.exists() and ledger.read_text() == "0\n")
        stop_between_writes(stopped, tmp_path / "sweep")
        before = Lease.read(study(tmp_path / "sweep").trials[0].user_attrs)
        assert before.owner.pid == stopped.pid
        gate.touch()
        here(tmp_path / "sweep", *overrides)
        expected = facts(study(tmp_path / "sweep").trials)
        owners = [Lease.read(trial.user_attrs).owner.pid for trial in study(tmp_path / "sweep").trials]
        assert owners == [os.getpid()] * 2
    finally:
        stopped.send_signal(signal.SIGCONT)
        stopped.wait()
    assert stopped.returncode == 0
    assert facts(study(tmp_path / "sweep").trials) == expected
    assert sorted(ledger.read_text().split()) == ["0", "0", "1"]
    assert "trial 0 was taken over by another worker" in log.read_text()
