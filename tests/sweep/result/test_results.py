"""Tables of a study: every trial is listed, and the best ones come first."""

import csv
import dataclasses

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from chirplet.sweep.plan.plan import Constraint, Plan
from chirplet.sweep.result.results import results_table, trial_rows, write_front, write_trials
from chirplet.system.console import console

LR = FloatDistribution(1e-6, 1e-2, log=True)
SPACE = {
    "stage.learning_rate": LR,
    "model": CategoricalDistribution(["minilm", "[red]x[/red]"]),
    "stage.layers": CategoricalDistribution([None, 2]),
    "deterministic": CategoricalDistribution([True, False]),
}
BEST = {"stage.learning_rate": 1e-5, "model": "[red]x[/red]", "stage.layers": None, "deterministic": True}
OTHER = {"stage.learning_rate": 0.1 + 0.2 - 0.299, "model": "minilm", "stage.layers": 2, "deterministic": False}


def make_plan(objectives=("val/f1_macro",), directions=("maximize",), constraints=("cost/mb <= 25",)):
    fields = {
        "objectives": objectives,
        "directions": directions,
        "constraints": tuple(Constraint.parse(text, "constraints") for text in constraints),
        "space": SPACE,
    }
    return Plan(**{field.name: None for field in dataclasses.fields(Plan)} | fields)


def add(study, state, values=None, params=BEST, mb=None, **attrs):
    study.add_trial(
        create_trial(
            state=state,
            values=values,
            params=params,
            distributions={key: SPACE.get(key, IntDistribution(0, 9)) for key in params},
            user_attrs=attrs,
            constraints=None if mb is None else {"cost/mb <= 25": mb - 25},
        )
    )


@pytest.fixture
def study():
    made = optuna.create_study(direction="maximize")
    metrics = {"val/f1_macro": 0.71, "cost/mb": 20.0, "val/loss": 0.1 + 0.2}
    add(made, TrialState.COMPLETE, [0.71], OTHER, mb=20.0, seconds=12.5, best_epoch=3, metrics=metrics)
    add(made, TrialState.COMPLETE, [0.9], OTHER, mb=80.0, seconds=50.0, metrics={"cost/mb": 80.0, "val/n": 7.0})
    add(made, TrialState.PRUNED, [0.8], {"stage.learning_rate": 1e-5}, seconds=2.0)
    add(made, TrialState.FAIL, None, {}, failure='no "such", folder\n[bold]', seconds=0.5)
    add(made, TrialState.COMPLETE, [0.75], BEST | {"stage.own": 4}, mb=25.0, seconds=1234.5)
    made.ask()
    made.enqueue_trial({"model": "minilm"})
    return made


COLUMNS = [
    *("number", "state", "val/f1_macro", "feasible", "seconds", "best_epoch", "failure"),
    *("stage.learning_rate", "model", "stage.layers", "deterministic", "stage.own"),
    *("cost/mb", "val/loss", "val/n"),
]


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class TestRows:
    def test_all_rows_have_the_same_columns(self, study):
        assert [list(row) for row in trial_rows(study, make_plan())] == [COLUMNS] * 7

    def test_a_complete_trial(self, study):
        row = trial_rows(study, make_plan())[0]
        expected = {"number": 0, "state": "complete", "val/f1_macro": 0.71, "feasible": True, "seconds": 12.5}
        expected |= {"best_epoch": 3, "failure": None, "cost/mb": 20.0, "val/loss": 0.1 + 0.2, "val/n": None}
        assert row == expected | OTHER | {"stage.own": None}

    def test_states_and_values_of_complete_trials(self, study):
        rows = trial_rows(study, make_plan())
        states = ["complete", "complete", "pruned", "failed", "complete", "running", "waiting"]
        assert [row["state"] for row in rows] == states
        assert [row["feasible"] for row in rows] == [True, False, None, None, True, None, None]
        assert [row["val/f1_macro"] for row in rows] == [0.71, 0.9, None, None, 0.75, None, None]
        assert rows[3]["failure"] == 'no "such", folder\n[bold]'

    def test_without_constraints_nothing_is_feasible_or_not(self, study):
        rows = trial_rows(study, make_plan(constraints=()))
        assert list(rows[0]) == [name for name in COLUMNS if name != "feasible"]

    def test_a_metric_with_the_name_of_an_objective_has_no_column(self, study):
        # The value in the study counts, not that in the trial's metrics.
        add(study, TrialState.COMPLETE, [0.5], metrics={"val/f1_macro": 0.6})
        add(study, TrialState.FAIL, metrics={"val/f1_macro": 0.6})
        assert [row["val/f1_macro"] for row in trial_rows(study, make_plan())[-2:]] == [0.5, None]


class TestFiles:
    def test_trials_are_read_back_with_every_digit(self, study, tmp_path):
        write_trials(study, make_plan(), tmp_path / "trials.csv")
        rows = read(tmp_path / "trials.csv")
        assert list(rows[0]) == COLUMNS and [row["number"] for row in rows] == list("0123456")
        assert float(rows[0]["stage.learning_rate"]) == OTHER["stage.learning_rate"]
        assert rows[4]["stage.learning_rate"] == "1e-05"
        assert rows[0]["val/loss"] == "0.30000000000000004"
        assert (rows[4]["feasible"], rows[1]["feasible"], rows[2]["feasible"]) == ("true", "false", "")
        assert rows[3]["failure"] == 'no "such", folder\n[bold]'
        assert [path.name for path in tmp_path.iterdir()] == ["trials.csv"]

    def test_null_and_booleans_differ_from_missing_values(self, study, tmp_path):
        write_trials(study, make_plan(), tmp_path / "trials.csv")
        rows = read(tmp_path / "trials.csv")
        assert [rows[i]["stage.layers"] for i in (4, 0, 3)] == ["null", "2", ""]
        assert [rows[i]["deterministic"] for i in (4, 0, 3)] == ["true", "false", ""]

    def test_any_text_can_be_written(self, study, tmp_path):
        add(study, TrialState.FAIL, failure="größe \udcff ☃")
        write_trials(study, make_plan(), tmp_path / "trials.csv")
        assert read(tmp_path / "trials.csv")[-1]["failure"] == "größe \\udcff ☃"

    def test_a_sweep_without_trials_has_a_header(self, tmp_path):
        for write in (write_trials, write_front):
            write(optuna.create_study(direction="maximize"), make_plan(), tmp_path / "a.csv")
            assert (tmp_path / "a.csv").read_text().splitlines() == [",".join(COLUMNS[:11])]

    def test_the_front_has_the_same_columns(self, tmp_path):
        study = optuna.create_study(directions=["maximize", "minimize"])
        for f1, latency in [(0.6, 10.0), (0.5, 11.0), (0.8, 30.0)]:
            add(study, TrialState.COMPLETE, [f1, latency], metrics={"val/n": f1} if f1 == 0.5 else {})
        plan = make_plan(("val/f1_macro", "cost/latency_ms"), ("maximize", "minimize"))
        write_trials(study, plan, tmp_path / "trials.csv")
        write_front(study, plan, tmp_path / "front.csv")
        trials = read(tmp_path / "trials.csv")
        assert read(tmp_path / "front.csv") == [trials[2], trials[0]]
        assert trials[0]["cost/latency_ms"] == "10.0" and "val/n" in trials[0]


def shown(table, capsys) -> list[list[str]]:
    console().print(table)
    lines = capsys.readouterr().out.splitlines()
    return [[cell.strip() for cell in line.strip("│┃").replace("┃", "│").split("│")] for line in lines]


class TestTable:
    def test_the_best_feasible_trials_come_first(self, study, capsys):
        rows = shown(results_table(study, make_plan()), capsys)
        assert rows[0] == ["best feasible trials (of 7) by val/f1_macro (maximize)"]
        assert ["trial", "4", "0"] in rows
        assert ["val/f1_macro", "0.7500", "0.7100"] in rows
        assert ["seconds", "1,234.5", "12.5"] in rows
        assert ["stage.learning_rate", "1e-05", "0.001"] in rows
        assert ["model", "[red]x[/red]", "minilm"] in rows
        assert ["stage.layers", "null", "2"] in rows
        assert ["deterministic", "true", "false"] in rows
        assert ["stage.own", "4", ""] in rows

    def test_at_most_count_trials(self, study, capsys):
        rows = shown(results_table(study, make_plan(constraints=()), count=1), capsys)
        # Feasibility is stored in the study and does not depend on the current plan.
        assert rows[0] == ["best trials (of 7) by val/f1_macro (maximize)"] and ["trial", "4"] in rows

    def test_several_objectives_show_the_front(self, capsys):
        study = optuna.create_study(directions=["minimize", "maximize"])
        for size, f1 in [(22713216.0, 0.6), (5e6, 0.5), (5e6, 0.4), (3e6, 0.1)]:
            add(study, TrialState.COMPLETE, [size, f1])
        plan = make_plan(("cost/bytes", "val/f1"), ("minimize", "maximize"), ())
        rows = shown(results_table(study, plan, 2), capsys)
        assert rows[0] == ["Pareto-optimal trials (2 of 3) by cost/bytes (minimize) and val/f1 (maximize)"]
        assert ["trial", "3", "1"] in rows
        assert ["cost/bytes", "3,000,000", "5,000,000"] in rows
        assert ["seconds", "", ""] in rows

    @pytest.mark.parametrize(
        ("constraints", "title"), [((), "no trial is complete"), (["a <= 1"], "no trial is complete and feasible")]
    )
    def test_there_may_be_none(self, constraints, title, capsys):
        study = optuna.create_study(direction="maximize")
        add(study, TrialState.FAIL)
        assert shown(results_table(study, make_plan(constraints=constraints)), capsys)[0] == [title]
