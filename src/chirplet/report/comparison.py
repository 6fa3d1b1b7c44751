"""Compare artifacts evaluated on the same texts: metrics, costs, and accuracy drops with their intervals.

Everything is computed from saved records and predictions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from chirplet.artifact.artifact import Record
from chirplet.metric.significance import LEVEL, RESAMPLES, mcnemar_p, paired_bootstrap
from chirplet.report.candidates import Candidate, Group
from chirplet.report.lineage import TEACHER_ID, grouped_by_run, parent_id, sources
from chirplet.report.machine import machine
from chirplet.system.error import ArtifactError, near


@dataclass(frozen=True)
class Drop:
    """Accuracy of another row minus accuracy of this one, with its interval; McNemar's p if both are one model."""

    value: float
    low: float
    high: float
    mcnemar_p: float | None


@dataclass(frozen=True)
class Row:
    """One row of the comparison: an artifact, or the same run with several seeds.

    `figures` holds the mean over the candidates of every `SPLIT/METRIC` and `cost/NAME` that all of them have,
    `spread` the standard deviation (n - 1) if there are several candidates.
    """

    name: str
    candidates: tuple[Candidate, ...]
    figures: dict[str, float]
    spread: dict[str, float]
    from_parent: Drop | None
    from_baseline: Drop
    label_only_baseline: dict[str, float]

    @property
    def record(self) -> Record:
        """The record of the first candidate; all have the same settings."""
        return self.candidates[0].record

    @property
    def machines(self) -> set[str]:
        """The machines on which its speeds were measured."""
        machines = (machine(candidate.record) for candidate in self.candidates)
        return {name for name in machines if name is not None}

    @property
    def seeds(self) -> list[int]:
        """Seeds in the order of the candidates."""
        return [candidate.record.seed for candidate in self.candidates]


@dataclass(frozen=True)
class Comparison:
    """Rows in the order of their artifacts, evaluated on `split` of the data set `data`; drops are from the row `base`.

    `interleaved` is true if all speeds were measured for this comparison, interleaved.
    """

    rows: list[Row]
    data: str
    split: str
    base: Row
    interleaved: bool

    @property
    def baseline(self) -> str:
        """The name of the baseline row."""
        return self.base.name

    @property
    def record(self) -> Record:
        """The record of the first row; data and labels are the same in all."""
        return self.rows[0].record

    @property
    def machines(self) -> list[str]:
        """The machines on which speeds were measured; speeds of different machines cannot be compared."""
        return sorted(set().union(*(row.machines for row in self.rows)))

    def elsewhere(self, row: Row) -> bool:
        """Whether the row's speed was measured on another machine than the baseline's, or on several."""
        return bool(row.machines) and (len(row.machines) > 1 or row.machines != self.base.machines)


def compare(group: Group, baseline: str | None, seed: int, interleaved: bool = False) -> Comparison:
    """Compare the candidates of one data set; runs that differ only in their seed become one row.

    Args:
        group: from `open_candidates`.
        baseline: name of a row or candidate; None takes the row from which most others were made.
        seed: seed of the bootstrap.
        interleaved: whether the records' speeds were measured for this comparison, interleaved.

    Raises:
        ArtifactError: no row or candidate is called `baseline`.
    """
    runs = grouped_by_run(group.candidates)
    names = _row_names(runs)
    base = runs[_baseline(runs, names, baseline)]
    by_id = {candidate.record.id[:TEACHER_ID]: candidate for candidate in group.candidates}
    rows = []
    for name, run in zip(names, runs, strict=True):
        parents = [by_id.get(parent_id(candidate.record) or "") for candidate in run]
        present = [parent for parent in parents if parent is not None]
        figures, spread = _figures(run)
        rows.append(
            Row(
                name=name,
                candidates=tuple(run),
                figures=figures,
                spread=spread,
                from_parent=_drop(present, run, seed) if len(present) == len(run) else None,
                from_baseline=_drop(base, run, seed),
                label_only_baseline=_label_only_baseline(run, group.split),
            )
        )
    return Comparison(rows, group.data, group.split, rows[runs.index(base)], interleaved)


def has_baseline(group: Group, wanted: str) -> bool:
    """Whether a row or candidate of the group is called `wanted`."""
    return wanted in {*_row_names(grouped_by_run(group.candidates)), *(one.name for one in group.candidates)}


def _baseline(groups: Sequence[list[Candidate]], names: Sequence[str], wanted: str | None) -> int:
    """The index of the group called `wanted`; None takes the group with most descendants."""
    if wanted is not None:
        for i, (name, group) in enumerate(zip(names, groups, strict=True)):
            if wanted == name or any(candidate.name == wanted for candidate in group):
                return i
        raise ArtifactError(
            f"baseline: got {wanted!r}, should be one of the artifacts: {', '.join(names)}{near(wanted, names)}"
        )
    by_id = {candidate.record.id[:TEACHER_ID]: candidate for group in groups for candidate in group}

    def descendants(group: list[Candidate]) -> int:
        ids = {candidate.record.id[:TEACHER_ID] for candidate in group}
        return sum(bool(ids & _ancestors(candidate.record, by_id)) for other in groups for candidate in other)

    return max(range(len(groups)), key=lambda i: descendants(groups[i]))  # the first of several


def _ancestors(record: Record, by_id: Mapping[str, Candidate]) -> set[str]:
    """Shortened ids of all known parents and teachers, and of theirs."""
    ancestors: set[str] = set()
    queue = [ancestor.artifact[:TEACHER_ID] for ancestor in record.lineage if ancestor.artifact is not None]
    queue += sources(record)
    while queue:
        source = queue.pop()
        if source not in ancestors:
            ancestors.add(source)
            queue += sources(by_id[source].record) if source in by_id else []
    return ancestors


def _row_names(groups: Sequence[list[Candidate]]) -> list[str]:
    """Names of the rows: the common end of their candidates' names, or all these names if it is not unique."""
    names = ["/".join(_common(group)) for group in groups]
    return [
        name if names.count(name) == 1 else "+".join(candidate.name for candidate in group)
        for name, group in zip(names, groups, strict=True)
    ]


def _common(group: Sequence[Candidate]) -> list[str]:
    """The path parts at the end that all names share, or all names if they share none."""
    if len(group) == 1:
        return [group[0].name]
    parts = [candidate.name.split("/")[::-1] for candidate in group]
    same = 0
    for several in zip(*parts, strict=False):
        if len(set(several)) > 1:
            break
        same += 1
    return parts[0][:same][::-1] if same else ["+".join(candidate.name for candidate in group)]


def _figures(group: Sequence[Candidate]) -> tuple[dict[str, float], dict[str, float]]:
    runs = [candidate.artifact.scalars() | candidate.artifact.costs() for candidate in group]
    shared = [name for name in runs[0] if all(name in figures for figures in runs)]
    table = np.array([[figures[name] for name in shared] for figures in runs], np.float64)
    means = dict(zip(shared, table.mean(axis=0).tolist(), strict=True))
    if len(group) == 1:
        return means, {}
    return means, dict(zip(shared, table.std(axis=0, ddof=1).tolist(), strict=True))


def _drop(before: Sequence[Candidate], after: Sequence[Candidate], seed: int) -> Drop:
    """The drop of mean accuracy from the candidates `before` to those `after`."""
    shares = [np.mean([candidate.right for candidate in group], axis=0) for group in (before, after)]
    low, high = paired_bootstrap(*shares, level=LEVEL, resamples=RESAMPLES, seed=seed)
    single = len(before) == len(after) == 1
    p = mcnemar_p(before[0].right, after[0].right) if single else None
    return Drop(float((shares[0] - shares[1]).mean()), low, high, p)


def _label_only_baseline(group: Sequence[Candidate], split: str) -> dict[str, float]:
    """Mean accuracy of the students' label-only baselines and gain over it; for a single student with its interval."""
    recorded = [candidate.record.training.get("label_only_baseline", {}).get(split) for candidate in group]
    baselines = [baseline for baseline in recorded if baseline is not None]
    if not baselines or len(baselines) < len(group):
        return {}
    accuracy = float(np.mean([baseline["accuracy"] for baseline in baselines]))
    gain = float(np.mean([baseline["difference"]["value"] for baseline in baselines]))
    results = {"accuracy": accuracy, "gain": gain}
    if len(baselines) == 1:
        results |= {name: baselines[0]["difference"][name] for name in ("low", "high", "mcnemar_p")}
    return results


def front(rows: Sequence[Row], cost: str, score: str, more_is_better: bool) -> list[Row]:
    """The Pareto front: rows that no other beats in both `cost` and `score`, in the order of their cost."""
    sign = -1.0 if more_is_better else 1.0
    known = [row for row in rows if cost in row.figures]
    ordered = sorted(known, key=lambda row: (sign * row.figures[cost], -row.figures[score]))
    best: list[Row] = []
    for row in ordered:
        if not best or row.figures[score] > best[-1].figures[score]:
            best.append(row)
    return best


@dataclass(frozen=True)
class Advice:
    """The fastest row whose accuracy on validation is within `acceptable` of the baseline's."""

    row: Row
    acceptable: float
    times_texts_per_s: float
    times_smaller: float


def advise(comparison: Comparison, acceptable: float) -> Advice | None:
    """The fastest row whose validation accuracy drops by at most `acceptable`.

    None if there is one row only, if a row has no validation metrics or no speed, or if speeds were measured on
    different machines.
    """
    base, score = comparison.base, "val/accuracy"
    known = all("cost/texts_per_s" in row.figures and score in row.figures for row in comparison.rows)
    if not known or len(comparison.rows) == 1 or len(comparison.machines) > 1:
        return None
    within = [row for row in comparison.rows if base.figures[score] - row.figures[score] <= acceptable + 1e-12]
    best = max(within, key=lambda row: row.figures["cost/texts_per_s"])
    return Advice(
        best,
        acceptable,
        best.figures["cost/texts_per_s"] / base.figures["cost/texts_per_s"],
        base.figures["cost/mb"] / best.figures["cost/mb"],
    )
