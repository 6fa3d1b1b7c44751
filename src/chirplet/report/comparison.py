"""What sets artifacts apart that were judged on the same texts: figures side by side, and how sure their drops are.

Everything here comes from records and predictions on disk.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from chirplet.artifact.artifact import Record
from chirplet.config.roles import Role, keys_with
from chirplet.metric.significance import LEVEL, RESAMPLES, mcnemar_p, paired_bootstrap
from chirplet.report.candidates import Candidate
from chirplet.report.machine import machine
from chirplet.system.error import ArtifactError, near
from chirplet.system.hashing import json_hash

TEACHER_ID = 12
"""Characters of a teacher's id that a student's record keeps."""


@dataclass(frozen=True)
class Drop:
    """Accuracy of another minus accuracy of this one, its interval, and McNemar's p where each is one model."""

    value: float
    low: float
    high: float
    mcnemar_p: float | None


@dataclass(frozen=True)
class Row:
    """One line of the comparison: an artifact, or the same run with several seeds.

    `figures` holds means over the candidates of every `SPLIT/METRIC` and `cost/NAME` that all of them have, `spread`
    their standard deviations (n - 1) where there are several.
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
        """Where its speeds were measured."""
        places = (machine(candidate.record) for candidate in self.candidates)
        return {place for place in places if place is not None}

    @property
    def seeds(self) -> list[int]:
        """In the order of the candidates."""
        return [candidate.record.seed for candidate in self.candidates]


@dataclass(frozen=True)
class Comparison:
    """Rows in the order of their artifacts, judged on `split`; drops are from `base`, one of them.

    `interleaved`: speeds were measured for this comparison, interleaved.
    """

    rows: list[Row]
    split: str
    base: Row
    interleaved: bool

    @property
    def baseline(self) -> str:
        """The name of the row that drops are from."""
        return self.base.name

    @property
    def record(self) -> Record:
        """A record; all have the same data and labels."""
        return self.rows[0].record

    @property
    def machines(self) -> list[str]:
        """Where speeds were measured; those of several cannot be compared."""
        return sorted(set().union(*(row.machines for row in self.rows)))

    def elsewhere(self, row: Row) -> bool:
        """Whether its speed was measured on another machine than the baseline's, or on several."""
        return bool(row.machines) and (len(row.machines) > 1 or row.machines != self.base.machines)


def compare(
    candidates: Sequence[Candidate], split: str, baseline: str | None, seed: int, interleaved: bool = False
) -> Comparison:
    """Rows of every candidate, those of the same run with several seeds folded into one.

    Args:
        candidates: as `open_candidates` gave them.
        split: what their predictions are on.
        baseline: the name of a candidate; null is the one that most others were made from.
        seed: of the bootstrap.
        by_turns: whether the records' times were taken for this comparison.

    Raises:
        ArtifactError: no candidate is called `baseline`.
    """
    groups = _folded(candidates)
    names = _row_names(groups)
    base = groups[_baseline(groups, names, baseline)]
    by_id = {candidate.record.id[:TEACHER_ID]: candidate for candidate in candidates}
    rows = []
    for name, group in zip(names, groups, strict=True):
        parents = [by_id.get(parent_id(candidate.record) or "") for candidate in group]
        known = [parent for parent in parents if parent is not None]
        figures, spread = _figures(group)
        rows.append(
            Row(
                name=name,
                candidates=tuple(group),
                figures=figures,
                spread=spread,
                from_parent=_drop(known, group, seed) if len(known) == len(group) else None,
                from_baseline=_drop(base, group, seed),
                label_only_baseline=_label_only_baseline(group, split),
            )
        )
    return Comparison(rows, split, rows[groups.index(base)], interleaved)


def parent_id(record: Record) -> str | None:
    """The beginning of the id of the artifact that this one was made from, or learnt from as the first of several."""
    return next(iter(_sources(record)), None)


def teacher_ids(record: Record) -> list[str]:
    """The beginnings of the ids of all that a student learnt from."""
    return list(record.training.get("teachers", {}))


def _sources(record: Record) -> list[str]:
    """The beginnings of the ids of what it was made from, then of what it learnt from."""
    made_from = [] if record.parent is None else [record.parent[:TEACHER_ID]]
    return list(dict.fromkeys([*made_from, *teacher_ids(record)]))


def _folded(candidates: Sequence[Candidate]) -> list[list[Candidate]]:
    """Candidates by run: the same settings, made from the same or from folded parents, with seeds of their own."""
    by_id = {candidate.record.id[:TEACHER_ID]: candidate for candidate in candidates}
    groups: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(_kin(candidate.record, by_id), []).append(candidate)
    found: list[list[Candidate]] = []
    for group in groups.values():
        seeds = {candidate.record.seed for candidate in group}
        found += [group] if len(seeds) == len(group) else [[candidate] for candidate in group]
    order = {candidate.name: place for place, candidate in enumerate(candidates)}
    return sorted(found, key=lambda group: order[group[0].name])


def _kin(record: Record, by_id: Mapping[str, Candidate]) -> str:
    """Names a run, whatever its seed."""
    origins = [_kin(by_id[source].record, by_id) if source in by_id else source for source in _sources(record)]
    config = {name: value for name, value in record.config.items() if name != "seed"}
    if isinstance(config.get("stage"), dict):
        config["stage"] = {name: value for name, value in config["stage"].items() if name not in keys_with(Role.LOCAL)}
    base = record.lineage[0]
    examples = record.training.get("texts")  # of a student, files without labels among them
    facts = [record.stage, record.method, record.settings, config, examples, base.name, base.weights_sha256, origins]
    return json_hash(facts)


def _baseline(groups: Sequence[list[Candidate]], names: Sequence[str], wanted: str | None) -> int:
    """The position of the group that is called so; null: that from which, or by which, most others came."""
    if wanted is not None:
        for place, (name, group) in enumerate(zip(names, groups, strict=True)):
            if wanted == name or any(candidate.name == wanted for candidate in group):
                return place
        raise ArtifactError(
            f"baseline: got {wanted!r}, should be one of the artifacts: {', '.join(names)}{near(wanted, names)}"
        )
    by_id = {candidate.record.id[:TEACHER_ID]: candidate for group in groups for candidate in group}

    def descendants(group: list[Candidate]) -> int:
        ids = {candidate.record.id[:TEACHER_ID] for candidate in group}
        return sum(bool(ids & _ancestors(candidate.record, by_id)) for other in groups for candidate in other)

    return max(range(len(groups)), key=lambda place: descendants(groups[place]))  # the first of those that have as many


def _ancestors(record: Record, by_id: Mapping[str, Candidate]) -> set[str]:
    """The beginnings of the ids of all that it was made from or learnt from, as far as they are known."""
    found: set[str] = set()
    ahead = [ancestor.artifact[:TEACHER_ID] for ancestor in record.lineage if ancestor.artifact is not None]
    ahead += _sources(record)
    while ahead:
        source = ahead.pop()
        if source not in found:
            found.add(source)
            ahead += _sources(by_id[source].record) if source in by_id else []
    return found


def _row_names(groups: Sequence[list[Candidate]]) -> list[str]:
    """What rows are called: a candidate's name, or what those of a folded one have in common where that is enough."""
    names = ["/".join(_common(group)) for group in groups]
    return [
        name if names.count(name) == 1 else "+".join(candidate.name for candidate in group)
        for name, group in zip(names, groups, strict=True)
    ]


def _common(group: Sequence[Candidate]) -> list[str]:
    """The end that the names of all have in common, or all their names."""
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
    found = [candidate.artifact.scalars() | candidate.artifact.costs() for candidate in group]
    shared = [name for name in found[0] if all(name in figures for figures in found)]
    table = np.array([[figures[name] for name in shared] for figures in found], np.float64)
    means = dict(zip(shared, table.mean(axis=0).tolist(), strict=True))
    if len(group) == 1:
        return means, {}
    return means, dict(zip(shared, table.std(axis=0, ddof=1).tolist(), strict=True))


def _drop(before: Sequence[Candidate], after: Sequence[Candidate], seed: int) -> Drop:
    """How much accuracy fell from the mean of some to the mean of others."""
    shares = [np.mean([candidate.right for candidate in group], axis=0) for group in (before, after)]
    low, high = paired_bootstrap(*shares, level=LEVEL, resamples=RESAMPLES, seed=seed)
    single = len(before) == len(after) == 1
    p = mcnemar_p(before[0].right, after[0].right) if single else None
    return Drop(float((shares[0] - shares[1]).mean()), low, high, p)


def _label_only_baseline(group: Sequence[Candidate], split: str) -> dict[str, float]:
    """The mean accuracy of the students' controls; of one student also how sure its gain over that is."""
    facts = [candidate.record.training.get("label_only_baseline", {}).get(split) for candidate in group]
    known = [label_only_baseline for label_only_baseline in facts if label_only_baseline is not None]
    if not known or len(known) < len(group):
        return {}
    accuracy = float(np.mean([label_only_baseline["accuracy"] for label_only_baseline in known]))
    gain = float(np.mean([label_only_baseline["difference"]["value"] for label_only_baseline in known]))
    found = {"accuracy": accuracy, "gain": gain}
    if len(known) == 1:
        found |= {name: known[0]["difference"][name] for name in ("low", "high", "mcnemar_p")}
    return found


def front(rows: Sequence[Row], cost: str, score: str, more_is_better: bool) -> list[Row]:
    """The rows that no other beats in both `cost` and `score` (Pareto), in the order of their cost."""
    sign = -1.0 if more_is_better else 1.0
    known = [row for row in rows if cost in row.figures]
    ordered = sorted(known, key=lambda row: (sign * row.figures[cost], -row.figures[score]))
    kept: list[Row] = []
    for row in ordered:
        if not kept or row.figures[score] > kept[-1].figures[score]:
            kept.append(row)
    return kept


@dataclass(frozen=True)
class Advice:
    """The fastest row whose accuracy on validation is within `acceptable` of the baseline's."""

    row: Row
    acceptable: float
    times_texts_per_s: float
    times_smaller: float


def advise(comparison: Comparison, acceptable: float) -> Advice | None:
    """What to take where accuracy may drop by so much, chosen on validation.

    None where some were not judged on it, or where speeds are not known or are of different machines.
    """
    base, score = comparison.base, "val/accuracy"
    known = all("cost/texts_per_s" in row.figures and score in row.figures for row in comparison.rows)
    if not known or len(comparison.machines) > 1:
        return None
    within = [row for row in comparison.rows if base.figures[score] - row.figures[score] <= acceptable + 1e-12]
    best = max(within, key=lambda row: row.figures["cost/texts_per_s"])
    return Advice(
        best,
        acceptable,
        best.figures["cost/texts_per_s"] / base.figures["cost/texts_per_s"],
        base.figures["cost/mb"] / best.figures["cost/mb"],
    )
