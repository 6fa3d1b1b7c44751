"""What an artifact was made from, and which artifacts are the same run with other seeds."""

from collections.abc import Mapping, Sequence

from chirplet.artifact.artifact import Record
from chirplet.config.roles import Role, keys_with
from chirplet.report.candidates import Candidate
from chirplet.system.hashing import json_hash

TEACHER_ID = 12
"""Characters of a teacher's id in a student's record."""


def parent_id(record: Record) -> str | None:
    """The first `TEACHER_ID` characters of the id of the artifact's parent or, without one, of its first teacher."""
    return next(iter(sources(record)), None)


def teacher_ids(record: Record) -> list[str]:
    """The first `TEACHER_ID` characters of the ids of a student's teachers."""
    return list(record.training.get("teachers", {}))


def sources(record: Record) -> list[str]:
    """Shortened ids of the parent, then of the teachers."""
    made_from = [] if record.parent is None else [record.parent[:TEACHER_ID]]
    return list(dict.fromkeys([*made_from, *teacher_ids(record)]))


def grouped_by_run(candidates: Sequence[Candidate]) -> list[list[Candidate]]:
    """Group candidates by run: the same settings and the same (or grouped) parents, with different seeds."""
    by_id = {candidate.record.id[:TEACHER_ID]: candidate for candidate in candidates}
    groups: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(_run_key(candidate.record, by_id), []).append(candidate)
    folded: list[list[Candidate]] = []
    for group in groups.values():
        seeds = {candidate.record.seed for candidate in group}
        folded += [group] if len(seeds) == len(group) else [[candidate] for candidate in group]
    order = {candidate.name: i for i, candidate in enumerate(candidates)}
    return sorted(folded, key=lambda group: order[group[0].name])


def _run_key(record: Record, by_id: Mapping[str, Candidate]) -> str:
    """Identifies a run except for its seed."""
    origins = [_run_key(by_id[source].record, by_id) if source in by_id else source for source in sources(record)]
    config = {name: value for name, value in record.config.items() if name != "seed"}
    if isinstance(config.get("stage"), dict):
        config["stage"] = {name: value for name, value in config["stage"].items() if name not in keys_with(Role.LOCAL)}
    base = record.lineage[0]
    examples = record.training.get("texts")  # a student's examples, which include unlabeled files
    parts = [record.stage, record.method, record.settings, config, examples, base.name, base.weights_sha256, origins]
    return json_hash(parts)
