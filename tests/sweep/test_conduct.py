"""Complete sweeps, as a user starts them: output, files, resuming, errors, and real fine-tuning."""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from optuna.trial import TrialState

from checkpoints import tiny_bert
from chirplet.system.error import ConfigError, SweepError
from forked import Command, command
from places import CONF
from runs import small_run
from sweeps import APP, facts, here, study, sweep, table, wait_until

COMPLETE, FAIL = TrialState.COMPLETE, TrialState.FAIL
SIX = "hydra.sweeper.n_trials=6"


@dataclass
class Swept:
    """The output of a command, and the state after it."""

    folder: Path
    printed: list[str]
    trials: list[tuple[Any, ...]]
    rows: list[dict[str, str]]


def swept(folder: Path, *overrides: str) -> Swept:
    done = sweep(folder, *overrides)
    assert (done.returncode, done.stderr) == (0, "")
    return Swept(folder, done.stdout.splitlines(), facts(study(folder).trials), table(folder))


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> Swept:
    return swept(tmp_path_factory.mktemp("first"), SIX)


@pytest.fixture(scope="module")
def again(first) -> Swept:
    return swept(first.folder, SIX)


def test_each_trial_is_a_line_and_the_best_are_in_a_table(first):
    lines = [line for line in first.printed if line.startswith("[")]
    assert [line.partition(":")[0] for line in lines] == [f"[{n + 1}/6] trial {n}" for n in range(6)]
    assert lines[0].startswith("[1/6] trial 0: complete, value 1.019 (best so far), ")
    assert "best trials (of 6) by value (minimize)" in first.printed
    found = f"--config-dir {CONF} 'hydra.searchpath=[file://{first.folder}]'"
    assert f"best      chirplet {found} experiment=tuned" in first.printed
    assert first.printed[-1] == f"sweep     {first.folder}"


def test_the_table_of_trials_agrees_with_the_study(first):
    assert [row["number"] for row in first.rows] == list("012345")
    assert {row["state"] for row in first.rows} == {"complete"}
    for row, (_, _, params, values, _) in zip(first.rows, first.trials, strict=True):
        assert {"x": float(row["x"]), "y": int(row["y"])} == params
        assert [float(row["value"])] == values
        assert float(row["value"]) == (params["x"] - 0.3) ** 2 + params["y"]


def test_the_experiment_of_the_best_trial_gives_its_value(first, tmp_path):
    best_settings = [
        sys.executable,
        str(APP),
        "--config-dir",
        str(first.folder),
        "+experiment=tuned",
        f"hydra.run.dir={tmp_path}",
    ]
    done = subprocess.run(best_settings, capture_output=True, text=True, check=True)
    best = min(float(row["value"]) for row in first.rows)
    assert f"value={best!r}" in done.stdout


def test_the_same_command_runs_nothing_and_prints_the_result_again(first, again):
    assert again.printed[0].startswith("resuming: 6 of 6 trials are done, best value 1.019")
    start = again.printed.index("best trials (of 6) by value (minimize)")
    assert again.printed[1:] == again.printed[start:]
    assert again.printed[start:] == first.printed[first.printed.index("best trials (of 6) by value (minimize)") :]
    assert (again.trials, again.rows) == (first.trials, first.rows)


def test_more_trials_resume_the_study(again):
    here(again.folder, "hydra.sweeper.n_trials=7", "hydra.sweeper.figures=true")
    trials = facts(study(again.folder).trials)
    assert (len(trials), trials[:6]) == (7, again.trials)
    assert len(table(again.folder)) == 7
    assert {path.name for path in again.folder.glob("*.png")} >= {"history.png", "slices.png"}


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["sleep_s=0.01"], "(config.sleep_s was 0.0, is 0.01); choose another name"),
        (["seed=choice(1,2)"], "(config.seed was 42, is None; space.seed was None, is"),
    ],
)
def test_another_sweep_of_the_same_name_is_refused(again, overrides, line):
    with pytest.raises(ConfigError) as caught:
        here(again.folder, *overrides)
    assert str(caught.value).startswith("hydra.sweeper.study_name: a study 'toy' of another sweep exists (")
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["z=interval(0,1)"], "z: no such key; known here: x, y, "),
        (["hydra.sweeper.n_jobs=2"], "hydra.sweeper.n_jobs: got 2, should be 1 with isolate=false"),
        (["hydra.sweeper.direction=down"], "hydra.sweeper.direction: got 'down', should be 'maximize' or 'minimize'"),
        (
            ["hydra.sweeper.constraints=['cost/mb < 3']"],
            "hydra.sweeper.constraints[0]: got 'cost/mb < 3', should be METRIC",
        ),
        (["+hydra.sweeper.sampler.seeds=1"], "hydra.sweeper.sampler: optuna.samplers.TPESampler got an unexpected"),
        (
            ["hydra/sweeper/pruner=percentile", "hydra.sweeper.pruner.percentile=101"],
            "hydra.sweeper.pruner: Percentile",
        ),
        (
            ["hydra.sweeper.custom_search_space=toy_space.nowhere"],
            "hydra.sweeper.custom_search_space: got 'toy_space.now",
        ),
    ],
)
def test_errors_are_one_line_and_create_no_study(overrides, line, tmp_path):
    with pytest.raises(ConfigError) as caught:
        here(tmp_path, *overrides)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "study.journal").exists() or (tmp_path / "study.journal").read_bytes() == b""


def test_a_sweep_ends_after_too_many_failures(tmp_path):
    points = "hydra.sweeper.enqueue=[{x: 0.3, y: 2}, {x: 0.8, y: 1}, {x: 0.3, y: 2}, {x: 0.1, y: 2}]"
    with pytest.raises(SweepError) as caught:
        here(tmp_path, points, SIX, "fail_at=2", "hydra.sweeper.max_failure_rate=0.2")
    assert str(caught.value) == (
        "hydra.sweeper.max_failure_rate: 2 of 3 trials failed, should be at most 1 of 6; trial 2: "
        "ValueError: y may not be 2"
    )
    assert [trial.state for trial in study(tmp_path).trials] == [FAIL, COMPLETE, FAIL]
    assert [row["state"] for row in table(tmp_path)] == ["failed", "complete", "failed"]
    # A higher rate resumes from there.
    here(tmp_path, points, "hydra.sweeper.n_trials=4", "fail_at=2", "hydra.sweeper.max_failure_rate=1")
    assert [trial.state for trial in study(tmp_path).trials] == [FAIL, COMPLETE, FAIL, FAIL]


def test_enqueued_points_come_first(tmp_path):
    points = "hydra.sweeper.enqueue=[{x: 0.25, y: 2}, {y: 2}, {x: 1}]"
    here(tmp_path, points, "hydra.sweeper.n_trials=3")
    params = [trial.params for trial in study(tmp_path).trials]
    assert params[0] == {"x": 0.25, "y": 2}
    assert params[1]["y"] == 2
    assert params[2]["x"] == 1.0
    assert params[1].keys() == params[2].keys() == {"x", "y"}


def test_two_objectives_give_a_front(tmp_path):
    points = "hydra.sweeper.enqueue=[{x: 0.3, y: 1}, {x: 0.9, y: 1}, {x: 0.5, y: 2}, {x: 1.0, y: 2}]"
    directions = "hydra.sweeper.direction=[minimize,maximize]"
    values = here(tmp_path, points, directions, "two=true", "hydra.sweeper.n_trials=4", "hydra/sweeper/pruner=median")
    assert values == pytest.approx([1.0, 0.3, 1.36, 0.9, 2.49, 1.0])
    assert [row["number"] for row in table(tmp_path, "front.csv")] == ["0", "1", "3"]
    assert [float(row["value_1"]) for row in table(tmp_path, "front.csv")] == [0.3, 0.9, 1.0]
    assert len(table(tmp_path)) == 4
    assert not (tmp_path / "experiment").exists()


def test_a_custom_search_space_may_depend_on_drawn_values(tmp_path):
    here(tmp_path, "hydra.sweeper.custom_search_space=toy_space.only_where_y_is_2", "hydra.sweeper.n_trials=4")
    trials = study(tmp_path).trials
    assert {trial.params["y"] for trial in trials} == {1, 2}
    for trial in trials:
        assert trial.params.keys() == ({"x", "y", "sleep_s"} if trial.params["y"] == 2 else {"x", "y"})
        config = (tmp_path / str(trial.number) / ".hydra" / "config.yaml").read_text()
        assert f"sleep_s: {trial.params.get('sleep_s', 0.0)!r}" in config


@dataclass
class Searches:
    """Real searches: one interrupted, resumed, and repeated with another seed; and one without feasible trials."""

    folder: Path
    interrupted: tuple[int, str]
    done: CompletedProcess[str]
    refused: CompletedProcess[str]
    infeasible: CompletedProcess[str]


def search(encoder: Path, folder: Path, name: str, *overrides: str) -> list[str]:
    """The arguments of a search with trials of two epochs of two steps."""
    small = ["trainer.limit_train_batches=2", "trainer.limit_val_batches=2", "trainer.threads=1", "logger=none"]
    where = [f"hydra.sweep.dir={folder}/{name}", f"hydra.sweeper.study_name={name}", "hydra.sweeper.figures=false"]
    layers = "stage.layers=choice(0,1,all)"  # the model has two
    return ["-m", "search=finetune", *small_run(encoder, folder / name), *small, *where, layers, *overrides]


@pytest.fixture(scope="module")
def searches(tmp_path_factory) -> Searches:
    folder = tmp_path_factory.mktemp("searches")
    encoder = tiny_bert(folder / "encoder")
    bounded = [
        "hydra.sweeper.metrics=[val/f1_macro,cost/latency_ms]",
        "hydra.sweeper.constraints=['cost/mb <= 0.001']",
        "stage.measure_cost=true",
        "hydra.sweeper.n_trials=1",
    ]
    arguments = search(encoder, folder, "tuned", "hydra.sweeper.n_trials=3", "hydra.sweeper.refit=true")
    started = Command(*arguments)
    output = folder / "tuned" / "0" / "output.log"
    wait_until(lambda: output.exists() and "epoch 1/" in output.read_text())
    os.kill(started.pid, signal.SIGINT)
    interrupted = started.end()
    # The rest runs without worker processes, which would each import torch.
    alone = "hydra.sweeper.isolate=false"
    once = (
        "import isolated; from chirplet.evaluation import cost; cost.ROUNDS = 1;"
        "isolated.entered = isolated.here(); isolated.entered.__enter__()"  # it ends when nothing refers to it
    )
    infeasible = command(*search(encoder, folder, "bounded", alone, *bounded), before=once)
    done, refused = command(*arguments, alone), command(*arguments, alone, "seed=43")
    return Searches(folder, (interrupted.returncode, interrupted.stderr), done, refused, infeasible)


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "artifact" / "artifact.json").read_text())


def test_ctrl_c_ends_a_real_search_with_one_line_and_130(searches):
    code, output = searches.interrupted
    assert code == 130
    assert re.fullmatch(
        r"error: interrupted: [01] of 3 trials are done; the same command resumes", output.splitlines()[-1]
    )


def test_a_real_search_compares_by_validation_only(searches):
    assert (searches.done.returncode, searches.done.stderr) == (0, "")
    rows = table(searches.folder / "tuned")
    assert [row["state"] for row in rows] == ["complete"] * 3
    for row in rows:
        metrics = record(searches.folder / "tuned" / row["number"])["metrics"]
        assert set(metrics) == {"val"}
        assert float(row["val/f1_macro"]) == metrics["val"]["f1_macro"]
        assert float(row["val/loss"]) == metrics["val"]["loss"]
        assert row["best_epoch"] in "12"
    # The enqueued settings come first.
    assert (float(rows[0]["stage.learning_rate"]), rows[0]["stage.layers"]) == (1e-4, "all")


def test_only_the_refit_reads_the_test_split(searches):
    rows = table(searches.folder / "tuned")
    best = max(rows, key=lambda row: (float(row["val/f1_macro"]), -int(row["number"])))
    made = record(searches.folder / "tuned" / "refit")
    assert set(made["metrics"]) == {"train", "test"}
    assert made["training"]["final"] is True
    assert made["training"]["epochs"] == int(best["best_epoch"])
    assert made["settings"]["learning_rate"] == float(best["stage.learning_rate"])
    assert f"refit     trial {best['number']}'s settings" in searches.done.stdout


def test_another_real_search_of_the_same_name_is_refused_in_one_line(searches):
    assert searches.refused.returncode == 2
    assert searches.refused.stderr == (
        "error: hydra.sweeper.study_name: a study 'tuned' of another sweep exists "
        "(config.seed was 42, is 43); choose another name\n"
    )


def test_without_feasible_trials_there_is_no_best(searches):
    assert (searches.infeasible.returncode, searches.infeasible.stderr) == (0, "")
    assert "no trial is complete and feasible" in searches.infeasible.stdout
    folder = searches.folder / "bounded"
    (row,) = table(folder)
    assert (row["state"], row["feasible"]) == ("complete", "false")
    cost = record(folder / "0")["cost"]
    assert float(row["cost/latency_ms"]) == cost["latency_ms"]["p50"] > 0
    assert float(row["cost/mb"]) == cost["bytes_on_disk"] / 1e6 > 0.001
    assert table(folder, "front.csv") == []
    assert not (folder / "experiment").exists()


def test_a_misspelt_sweeper_setting_is_reported_in_one_line():
    done = command("-m", "search=finetune", "hydra.sweeper.n_trails=3")
    assert done.returncode == 2
    assert re.fullmatch(r"error: hydra\.sweeper\.n_trails: no such key; did you mean 'n_trials'\?.*\n", done.stderr)
