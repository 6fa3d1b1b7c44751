"""Worker processes: what they share, and what happens when they exit."""

import pytest
from optuna.trial import TrialState

from chirplet.system.error import ConfigError, SweepError
from chirplet.system.hardware import cpu_cores
from sweeps import facts, here, study

COMPLETE, FAIL = TrialState.COMPLETE, TrialState.FAIL


def printed(folder, number):
    return (folder / str(number) / "output.log").read_text()


def test_a_trial_that_kills_its_process_runs_twice_and_the_sweep_continues(tmp_path):
    """As when the kernel runs out of memory."""
    ledger = tmp_path / "ledger"
    points = "hydra.sweeper.enqueue=[{x: 0.3, y: 2}, {x: 0.8, y: 1}, {x: 0.4, y: 1}]"
    overrides = [points, "hydra.sweeper.n_trials=3", "fail_at=2", "how=kill", f"ledger={ledger}"]
    best = here(tmp_path / "sweep", *overrides, "hydra.sweeper.max_failure_rate=0.4", isolate=True)
    assert best == pytest.approx(1.01)
    killed, *others = study(tmp_path / "sweep").trials
    assert killed.state == FAIL
    assert killed.user_attrs["failure"] == "its process was killed by signal SIGKILL (out of memory?)"
    assert [trial.state for trial in others] == [COMPLETE] * 2
    assert ledger.read_text().split() == ["0", "0", "1", "2"]


def test_two_workers_share_the_cores_and_try_the_whole_grid_once(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "7")  # set by the user, stays unchanged
    ledger = tmp_path / "ledger"
    overrides = ["hydra/sweeper/sampler=grid", "x=choice(0.1,0.3,0.9)", "sleep_s=0.1", f"ledger={ledger}"]
    here(tmp_path / "sweep", *overrides, "hydra.sweeper.n_jobs=2", "hydra.sweeper.n_trials=50", isolate=True)
    trials = study(tmp_path / "sweep").trials
    assert sorted((trial.params["x"], trial.params["y"]) for trial in trials) == [
        *((0.1, 1), (0.1, 2), (0.3, 1), (0.3, 2), (0.9, 1), (0.9, 2))
    ]
    assert [trial.state for trial in trials] == [COMPLETE] * 6
    assert sorted(ledger.read_text().split()) == list("012345")
    share = max(1, cpu_cores() // 2)
    assert f"'OMP_NUM_THREADS': '{share}'" in printed(tmp_path / "sweep", 0)
    assert "'MKL_NUM_THREADS': '7'" in printed(tmp_path / "sweep", 0)


def test_pruning_and_sampling_are_the_same_in_a_process(tmp_path):
    """Trials are pruned at the expected report."""
    overrides = ["hydra/sweeper/pruner=median", "hydra.sweeper.n_trials=6"]
    for isolate in (True, False):
        here(tmp_path / str(isolate), *overrides, isolate=isolate)
    trials = study(tmp_path / "True").trials
    assert facts(trials) == facts(study(tmp_path / "False").trials)
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED]
    assert len(pruned) == 2
    for trial in pruned:
        assert sorted(trial.intermediate_values) == list(range(1, trial.last_step + 1))
        assert trial.last_step < 3
        assert "x=" not in printed(tmp_path / "True", trial.number)


def test_workers_that_exit_without_a_trial_end_the_sweep_with_their_last_line(tmp_path):
    space = "hydra.sweeper.custom_search_space=toy_space.broken"
    with pytest.raises(SweepError, match="ZeroDivisionError: no space"):
        here(tmp_path, space, "hydra.sweeper.n_trials=2", isolate=True)


def test_an_error_of_every_trial_is_reported_once(tmp_path):
    space = "hydra.sweeper.custom_search_space=toy_space.misspelt"
    with pytest.raises(
        ConfigError, match=r"^sleeps: no such key; did you mean 'sleep_s'\?; known here: x, y, "
    ) as caught:
        here(tmp_path, space, "hydra.sweeper.n_jobs=2", "hydra.sweeper.n_trials=2", isolate=True)
    assert "\n" not in str(caught.value)
    assert [trial.state for trial in study(tmp_path).trials] == [TrialState.RUNNING] * len(study(tmp_path).trials)
