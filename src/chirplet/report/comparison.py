"""What sets artifacts apart that were judged on the same tweets: figures side by side, and how sure their drops are.

Everything here comes from records and predictions on disk.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chirplet.artifact import RECORD, Artifact, Predictions, Record, check_folder
from chirplet.config import near
from chirplet.error import ArtifactError
from chirplet.metric.significance import mcnemar_p, paired_bootstrap

RESAMPLES = 10_000
LEVEL = 0.95
TEACHER_ID = 12
"""Characters of a teacher's id that a student's record keeps."""


@dataclass(frozen=True)
class Candidate:
    """One artifact with its predictions on the tweets that all are compared on."""

    name: str
    artifact: Artifact
    predictions: Predictions

    @property
    def record(self) -> Record:
        """The artifact's record."""
        return self.artifact.record

    @property
    def right(self) -> NDArray[np.bool_]:
        """Which tweets it labelled rightly, shape (n,)."""
        found: NDArray[np.bool_] = self.predictions.logits.argmax(axis=1) == self.predictions.label
        return found


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
    control: dict[str, float]

    @property
    def record(self) -> Record:
        """The record of the first candidate; all have the same settings."""
        return self.candidates[0].record

    @property
    def seeds(self) -> list[int]:
        """In the order of the candidates."""
        return [candidate.record.seed for candidate in self.candidates]


@dataclass(frozen=True)
class Comparison:
    """Rows in the order of their artifacts, judged on `split`; `baseline` is the name of one of them."""

    rows: list[Row]
    split: str
    baseline: str

    @property
    def base(self) -> Row:
        """The row that all drops are from."""
        return next(row for row in self.rows if row.name == self.baseline)

    @property
    def record(self) -> Record:
        """A record that tells of data and labels, which all share."""
        return self.rows[0].record


def find_artifacts(patterns: Sequence[str]) -> list[Path]:
    """The folders of artifacts that paths and glob patterns (`**` for any depth) name, each once, in order.

    Raises:
        ArtifactError: a path is no artifact, or a pattern finds none.
    """
    found: dict[Path, Path] = {}
    for pattern in patterns:
        path = Path(pattern).expanduser()
        parts = path.parts
        wild = next((place for place, part in enumerate(parts) if any(sign in part for sign in "*?[")), None)
        if wild is None:
            folders = [check_folder(path)]
        else:
            root, rest = Path(*parts[:wild]), "/".join(parts[wild:])
            folders = sorted(
                folder for folder in root.glob(rest) if (folder / RECORD).is_file() and not folder.name.startswith(".")
            )
            if not folders:
                raise ArtifactError(f"artifacts: got {pattern!r}, which finds no artifact{_closest(root)}")
        for folder in folders:
            found.setdefault(folder.resolve(), folder)
    return list(found.values())


def _closest(root: Path) -> str:
    """Why a pattern may have found nothing."""
    if root.is_dir():
        return ""
    siblings = [path.name for path in root.parent.iterdir()] if root.parent.is_dir() else []
    return f": no folder {str(root)!r}{near(root.name, siblings)}"


def names_of(folders: Sequence[Path]) -> list[str]:
    """What tells each folder from the others: the shortest end of its path that no other has.

    Stages write to a folder called `artifact`, which says nothing and is left out.
    """
    paths = [folder.absolute().parts for folder in folders]
    paths = [parts[:-1] if parts[-1] == "artifact" else parts for parts in paths]
    names = []
    for parts in paths:
        length = next(
            (n for n in range(1, len(parts)) if sum(other[-n:] == parts[-n:] for other in paths) == 1), len(parts)
        )
        names.append("/".join(parts[-length:]))
    return names


def open_candidates(folders: Sequence[Path], split: str | None) -> tuple[list[Candidate], str]:
    """The artifacts with their predictions on `split`; null takes test where all were judged on it, else val.

    Raises:
        ArtifactError: they are not of the same tweets and labels, or were not all judged on one split.
    """
    artifacts = [Artifact.open(folder) for folder in folders]
    names = names_of(folders)
    _check_same(names, [artifact.record for artifact in artifacts])
    chosen = _judged_split(names, [artifact.record for artifact in artifacts], split)
    candidates = [
        Candidate(name, artifact, artifact.predictions(chosen)) for name, artifact in zip(names, artifacts, strict=True)
    ]
    first = candidates[0]
    for other in candidates[1:]:
        same = other.predictions.row_id == first.predictions.row_id
        if not same or not np.array_equal(other.predictions.label, first.predictions.label):
            raise ArtifactError(
                f"artifacts: {first.name!r} and {other.name!r} were judged on different {chosen} tweets or labels of "
                f"theirs ({len(first.predictions.label):,} and {len(other.predictions.label):,} tweets)"
            )
    return candidates, chosen


def _check_same(names: Sequence[str], records: Sequence[Record]) -> None:
    first = records[0]
    for name, record in zip(names[1:], records[1:], strict=True):
        if record.labels != first.labels:
            raise ArtifactError(
                f"artifacts: {names[0]!r} has the labels {', '.join(first.labels)}, {name!r} has "
                f"{', '.join(record.labels)}; only artifacts of the same labels are compared"
            )
        if record.data.fingerprint != first.data.fingerprint:
            raise ArtifactError(
                f"artifacts: {names[0]!r} was made from {_data(first, record)}, {name!r} from {_data(record, first)}; "
                "only artifacts of the same tweets and splits are compared"
            )


def _data(record: Record, other: Record) -> str:
    """The data of `record`, with the settings in which `other` differs."""
    settings, others = (one.config.get("data", {}) for one in (record, other))
    differ = [name for name in settings if name != "_target_" and settings[name] != others.get(name)]
    told = [f"data={record.data.source}", *(f"data.{name}={settings[name]}" for name in differ)]
    if record.data.source == other.data.source and not differ:
        told.append(f"with the fingerprint {record.data.fingerprint[:12]}")
    return " ".join(told)


def _judged_split(names: Sequence[str], records: Sequence[Record], wanted: str | None) -> str:
    for split in ("test", "val") if wanted is None else (wanted,):
        if all(split in record.metrics for record in records):
            return split
    missing = [name for name, record in zip(names, records, strict=True) if (wanted or "test") not in record.metrics]
    raise ArtifactError(
        f"artifacts: {missing[0]!r} was not judged on {wanted or 'test'}, and others were; "
        "should all have been judged on one split"
    )


def compare(candidates: Sequence[Candidate], split: str, baseline: str | None, seed: int) -> Comparison:
    """Rows of every candidate, those of the same run with several seeds folded into one.

    Args:
        candidates: as `open_candidates` gave them.
        split: what their predictions are on.
        baseline: the name of a candidate; null is the one that most others were made from.
        seed: of the bootstrap.

    Raises:
        ArtifactError: no candidate is called `baseline`.
    """
    groups = _folded(candidates)
    base = _baseline(groups, baseline)
    by_id = {candidate.record.id[:TEACHER_ID]: candidate for candidate in candidates}
    names = ["/".join(_common(group)) for group in groups]
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
                from_baseline=_drop(_same_seed(base, group), group, seed),
                control=_control(group, split),
            )
        )
    return Comparison(rows, split, names[groups.index(base)])


def parent_id(record: Record) -> str | None:
    """The beginning of the id of the artifact that this one was made from, or learnt from as the first of several."""
    if record.parent is not None:
        return record.parent[:TEACHER_ID]
    teachers: Mapping[str, Any] = record.training.get("teachers", {})
    return next(iter(teachers), None)


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
    parent = parent_id(record)
    before = by_id.get(parent or "")
    origin = parent if before is None or parent is None else _kin(before.record, by_id)
    config = {name: value for name, value in record.config.items() if name != "seed"}
    base = record.lineage[0]
    told = [record.stage, record.method, record.settings, config, base.name, base.weights_sha256, origin]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _baseline(groups: Sequence[list[Candidate]], wanted: str | None) -> list[Candidate]:
    if wanted is not None:
        for group in groups:
            if any(candidate.name == wanted for candidate in group):
                return group
        names = [candidate.name for group in groups for candidate in group]
        raise ArtifactError(
            f"baseline: got {wanted!r}, should be one of the artifacts: {', '.join(names)}{near(wanted, names)}"
        )

    def descendants(group: list[Candidate]) -> int:
        ids = {candidate.record.id for candidate in group}
        return sum(
            any(ancestor.artifact in ids for ancestor in candidate.record.lineage)
            for other in groups
            for candidate in other
        )

    return max(groups, key=descendants)  # the first of those that have as many


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


def _same_seed(base: list[Candidate], group: Sequence[Candidate]) -> list[Candidate]:
    """The baseline's candidate of each seed, or all of them where seeds do not pair."""
    seeds = {candidate.record.seed: candidate for candidate in base}
    paired = [seeds.get(candidate.record.seed) for candidate in group]
    known = [candidate for candidate in paired if candidate is not None]
    return known if len(known) == len(group) else base


def _drop(before: Sequence[Candidate], after: Sequence[Candidate], seed: int) -> Drop:
    """How much accuracy fell from the mean of some to the mean of others."""
    shares = [np.mean([candidate.right for candidate in group], axis=0) for group in (before, after)]
    low, high = paired_bootstrap(*shares, level=LEVEL, resamples=RESAMPLES, seed=seed)
    single = len(before) == len(after) == 1
    p = mcnemar_p(before[0].right, after[0].right) if single else None
    return Drop(float((shares[0] - shares[1]).mean()), low, high, p)


def _control(group: Sequence[Candidate], split: str) -> dict[str, float]:
    """The mean accuracy of the students' controls; of one student also how sure its gain over that is."""
    told = [candidate.record.training.get("control", {}).get(split) for candidate in group]
    known = [control for control in told if control is not None]
    if not known or len(known) < len(group):
        return {}
    accuracy = float(np.mean([control["accuracy"] for control in known]))
    gain = float(np.mean([control["difference"]["value"] for control in known]))
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
    """The fastest row whose accuracy on `split` is within `acceptable` of the baseline's."""

    row: Row
    split: str
    acceptable: float
    times_tweets_per_s: float
    times_smaller: float


def advise(comparison: Comparison, acceptable: float) -> Advice | None:
    """What to take where accuracy may drop by so much; chosen on validation where all were judged on it.

    None where the speed of some was not measured.
    """
    base = comparison.base
    split = "val" if all("val/accuracy" in row.figures for row in comparison.rows) else comparison.split
    if not all("cost/tweets_per_s" in row.figures for row in comparison.rows):
        return None
    score = f"{split}/accuracy"
    within = [row for row in comparison.rows if base.figures[score] - row.figures[score] <= acceptable + 1e-12]
    best = max(within, key=lambda row: row.figures["cost/tweets_per_s"])
    return Advice(
        best,
        split,
        acceptable,
        best.figures["cost/tweets_per_s"] / base.figures["cost/tweets_per_s"],
        base.figures["cost/mb"] / best.figures["cost/mb"],
    )
