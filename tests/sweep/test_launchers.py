"""Workers started by Hydra launchers, and other programs that read the study."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest
from optuna.trial import TrialState

from sweeps import study, sweep, table, wait_until

N_TRIALS = 6
LAUNCHERS = {
    "submitit_local": ["hydra.sweeper.n_jobs=2", "sleep_s=0.2"],
    "ray": [
        *("hydra.sweeper.n_jobs=2", "sleep_s=0.2"),
        *("+hydra.launcher.ray.init.num_cpus=2", "+hydra.launcher.ray.init.include_dashboard=false"),
    ],
}
KILLED = ["hydra.sweeper.enqueue=[{x: 0.3, y: 2}]", "fail_at=2", "how=kill"]


@pytest.fixture(scope="module")
def launched(tmp_path_factory) -> Callable[[str], tuple[Path, subprocess.CompletedProcess[str]]]:
    """Sweeps with the installed launchers, all at the same time, since they mostly wait."""

    def run(folder: Path, launcher: str, *overrides: str) -> subprocess.CompletedProcess[str]:
        # Otherwise Ray writes a token to the home directory.
        quiet = {"HOME": str(folder), "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
        where = [f"hydra/launcher={launcher}", f"ledger={folder}/ledger", f"hydra.sweeper.n_trials={N_TRIALS}"]
        return sweep(folder / "sweep", *where, *overrides, environment=os.environ | quiet)

    wanted = {name: [name, *overrides] for name, overrides in LAUNCHERS.items()} | {
        "killed": ["submitit_local", *KILLED]
    }
    folders = {
        name: tmp_path_factory.mktemp(name)
        for name, (launcher, *_) in wanted.items()
        if find_spec(f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher")
    }
    with ThreadPoolExecutor() as threads:
        runs = {name: threads.submit(run, folder, *wanted[name]) for name, folder in folders.items()}

    def result_of(name: str) -> tuple[Path, subprocess.CompletedProcess[str]]:
        if name not in folders:
            pytest.skip(f"pip install hydra-{wanted[name][0].partition('_')[0]}-launcher")
        return folders[name], runs[name].result()

    return result_of


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_two_workers_of_a_launcher_share_the_trials(launcher, launched):
    folder, done = launched(launcher)
    assert done.returncode == 0, done.stderr
    assert "best trials (of 6) by value (minimize)" in done.stdout
    trials = study(folder / "sweep").trials
    assert [(trial.number, trial.state) for trial in trials] == [(n, TrialState.COMPLETE) for n in range(N_TRIALS)]
    assert sorted((folder / "ledger").read_text().split()) == list("012345")
    assert [float(row["value"]) for row in table(folder / "sweep")] == [trial.value for trial in trials]
    assert all((folder / f"sweep/{number}/output.log").read_text().startswith("x=") for number in range(N_TRIALS))
    assert (folder / "sweep" / "experiment" / "tuned.yaml").exists()


def test_a_killed_launched_worker_ends_the_command_with_one_line(launched):
    _, done = launched("killed")
    assert done.returncode != 0
    errors = [line for line in done.stderr.splitlines() if "hydra/launcher=submitit_local" in line]
    assert len(errors) == 1, done.stderr
    assert "the same command resumes" in errors[0]


@pytest.fixture
def dashboard(launched, tmp_path):
    """A sweep, and the address of an optuna-dashboard that shows it."""
    if find_spec("optuna_dashboard") is None:
        pytest.skip("pip install optuna-dashboard")
    folder = launched("submitit_local")[0] / "sweep"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("optuna-dashboard")), str(folder / "study.journal")]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port), "--host", "127.0.0.1"], stdout=log, stderr=subprocess.STDOUT
        )
    try:
        wait_until(lambda: process.poll() is not None or socket.socket().connect_ex(("127.0.0.1", port)) == 0)
        assert process.poll() is None, (tmp_path / "log").read_text()
        yield folder, f"http://127.0.0.1:{port}/api"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def test_optuna_dashboard_shows_the_study(dashboard):
    folder, api = dashboard

    def get(path: str):
        with urllib.request.urlopen(f"{api}/{path}") as answer:
            return json.load(answer)

    (shown,) = get("studies")["study_summaries"]
    assert shown["study_name"] == "toy"
    detail = get(f"studies/{shown['study_id']}")
    assert [trial["state"] for trial in detail["trials"]] == ["Complete"] * N_TRIALS
    assert [trial["values"] for trial in detail["trials"]] == [trial.values for trial in study(folder).trials]
    assert detail["best_trials"][0]["values"] == [study(folder).best_value]
