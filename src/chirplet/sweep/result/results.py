"""The results of a sweep as tables: all trials, the Pareto front, and the best trials on the terminal."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from chirplet.sweep.plan.plan import Plan
from chirplet.sweep.result.best import front, ranking
from chirplet.sweep.result.standing import feasible
from chirplet.system.atomic_io import atomic_file
from chirplet.system.escaping import csv_cell
from chirplet.system.fitted_table import FittedTable

STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
TRIAL_ATTRIBUTES = ("seconds", "best_epoch", "failure")
"""User attributes of a trial that have a column."""


def parameters(trials: Iterable[FrozenTrial], plan: Plan) -> list[str]:
    """The searched override keys: those of the plan in its order, then those of a custom search space."""
    return list(dict.fromkeys([*plan.space, *(key for trial in trials for key in trial.params)]))


def labels(keys: Sequence[str]) -> dict[str, str]:
    """The shortest unique suffix of each override key, for example `dropout` for `model.dropout`."""
    count = Counter(suffix for key in keys for suffix in set(_suffixes(key)))
    return {key: next((suffix for suffix in _suffixes(key) if count[suffix] == 1), key) for key in keys}


def parameter_text(value: Any) -> str:
    """A parameter's value for display: booleans and null as in overrides, floats with four digits."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def trial_rows(study: Study, plan: Plan) -> list[dict[str, Any]]:
    """One row per trial, by number. All rows have the same columns; missing values are None.

    The columns are `number`, `state`, the objectives, `feasible` where the plan has constraints, `seconds` (run time),
    `best_epoch`, `failure`, the parameters by their override keys, and all other metrics. Objectives and feasibility
    are given for complete trials only: the last report of a pruned trial is from an early epoch.
    """
    trials = study.get_trials()
    columns = _columns(trials, plan)
    return [dict.fromkeys(columns) | _row(trial, plan) for trial in trials]


def write_trials(study: Study, plan: Plan, path: Path) -> None:
    """Write `trial_rows` as CSV (UTF-8, one header line; booleans and null as in overrides), atomically.

    Raises:
        OSError: the file cannot be written.
    """
    _write(trial_rows(study, plan), _columns(study.get_trials(), plan), path)


def write_front(study: Study, plan: Plan, path: Path) -> None:
    """Write the rows of the Pareto-optimal trials, best first by the first objective; otherwise as `write_trials`.

    Raises:
        OSError: the file cannot be written.
    """
    rows = {row["number"]: row for row in trial_rows(study, plan)}
    _write([rows[trial.number] for trial in front(study, plan)], _columns(study.get_trials(), plan), path)


def results_table(study: Study, plan: Plan, count: int = 5) -> FittedTable:
    """A table of the best trials (columns) with their objectives, run time and parameters (rows).

    With several objectives these are Pareto-optimal trials, best first by the first objective; at most `count`.
    """
    several = len(plan.objectives) > 1
    ranked = front(study, plan) if several else ranking(study, plan)
    shown = ranked[:count]
    kind = "Pareto-optimal" if several else "best feasible" if plan.constraints else "best"
    by = " and ".join(f"{name} ({direction})" for name, direction in zip(plan.objectives, plan.directions, strict=True))
    of = f"{len(shown)} of {len(ranked)}" if several else f"of {len(study.get_trials())}"
    required = "complete and feasible" if plan.constraints else "complete"
    title = f"{kind} trials ({of}) by {by}" if shown else f"no trial is {required}"
    table = FittedTable(title, [str(trial.number) for trial in shown[1:]], "trials.csv")
    table.add_column("trial")
    for trial in shown:
        table.add_column(str(trial.number), justify="right")
    for index, name in enumerate(plan.objectives):
        table.add_row(name, *(_number(trial.values[index]) for trial in shown))
    seconds = [trial.user_attrs.get("seconds") for trial in shown]
    table.add_row("seconds", *("" if value is None else f"{value:,.1f}" for value in seconds), end_section=True)
    for key in parameters(shown, plan):
        table.add_row(key, *(parameter_text(trial.params[key]) if key in trial.params else "" for trial in shown))
    return table


def _columns(trials: Sequence[FrozenTrial], plan: Plan) -> list[str]:
    return list(
        dict.fromkeys(
            [
                *("number", "state", *plan.objectives),
                *(["feasible"] if plan.constraints else []),
                *TRIAL_ATTRIBUTES,
                *parameters(trials, plan),
                *(name for trial in trials for name in _metrics(trial)),
            ]
        )
    )


def _row(trial: FrozenTrial, plan: Plan) -> dict[str, Any]:
    """A trial's values by column."""
    # The objectives are also metrics with the same names; their values in the study count.
    row: dict[str, Any] = {name: value for name, value in _metrics(trial).items() if name not in plan.objectives}
    # The value null differs from a parameter that the trial does not have.
    row |= {key: "null" if value is None else value for key, value in trial.params.items()}
    row |= {name: trial.user_attrs[name] for name in TRIAL_ATTRIBUTES if name in trial.user_attrs}
    if trial.state == TrialState.COMPLETE:
        row |= zip(plan.objectives, trial.values, strict=True)
        if plan.constraints:
            row["feasible"] = feasible(trial)
    return row | {"number": trial.number, "state": STATES[trial.state]}


def _metrics(trial: FrozenTrial) -> dict[str, float]:
    metrics: dict[str, float] = trial.user_attrs.get("metrics", {})
    return metrics


def _write(rows: Sequence[dict[str, Any]], columns: Sequence[str], path: Path) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row[name]) for name in columns] for row in rows)
    with atomic_file(path) as stream:
        # An error message may contain lone surrogates.
        stream.write(text.getvalue().encode(errors="backslashreplace"))


def _cell(value: Any) -> Any:
    """The value for `csv`, which writes None as an empty cell and floats with all digits."""
    return str(value).lower() if isinstance(value, bool) else csv_cell(value)


def _number(value: float) -> str:
    """Four decimals for scores and losses, none for large numbers like bytes."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4f}" if abs(value) >= 0.01 or value == 0 else f"{value:.4g}"


def _suffixes(key: str) -> Iterator[str]:
    """The suffixes of a key after dots and slashes, shortest first."""
    starts = {0} | {match.end() for match in re.finditer(r"^\++|[./]", key)}
    return (key[start:] for start in sorted(starts, reverse=True))
