"""Carry a recorded run out again, and say whether it came to the same."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from chirplet.artifact.artifact import Artifact, Record
from chirplet.cli.binding import Experiment, parse
from chirplet.cli.experiment import execute, for_record, inputs_of, run_of
from chirplet.cli.reproduce.choices import choices, keys_of
from chirplet.cli.reproduce.inputs import check_given, pinned
from chirplet.cli.reproduce.settings import ABSENT, differences, restored
from chirplet.cli.reproduce.verdict import print_verdict
from chirplet.stage.run.identity import PARTS, identity_in, identity_of
from chirplet.stage.run.identity import differences as differences_of
from chirplet.system.command_line import override_of
from chirplet.system.console import console, shown_path
from chirplet.system.error import ArtifactError, ConfigError, DataError


def reproduce(cfg: DictConfig, output_dir: Path, overrides: Sequence[str]) -> float | None:
    """Repeat the run that made the artifact `cfg.reproduce`; its objective.

    Args:
        cfg: composed of `overrides`.
        output_dir: where the new artifact goes.
        overrides: what `chirplet.cli.reproduce.choices.expanded` made of the command line.

    Raises:
        ConfigError: the record has values that this version or this machine cannot take, or files must be given.
        ArtifactError: there is no such artifact, or a parent is another one.
        DataError: the data is not the record's.
    """
    folder = Path(cfg.reproduce).expanduser()
    record = Artifact.open(folder).record
    chosen = choices(record)
    given = [override for override in overrides if override not in chosen and not override.startswith("reproduce=")]
    given_keys = keys_of(given)
    if "stage" in given_keys:
        raise ConfigError(f"stage: should be left out with reproduce=, whose record is of stage={record.stage}")
    if set(chosen) - set(overrides):
        raise ConfigError("reproduce: is carried out by the command line alone, which composes what the record names")
    again = restored(cfg, record.config, given_keys)
    check_given(again, record, given_keys)
    again = pinned(again, record, given_keys)
    experiment = parse(again)
    experiment.stage.check_parts(run_of(experiment, output_dir, {}))  # before the data is prepared
    check_inputs(experiment, record, given_keys)
    _print_changes(for_record(again), record.config)
    objective = execute(again, output_dir, [override_of("reproduce", folder), *given])
    made = Artifact.open(output_dir / "artifact")
    if made.record.stage != record.stage:
        raise ArtifactError(f"reproduce: made an artifact of stage={made.record.stage}, the record's is {record.stage}")
    print_verdict(record, made.record, shown_path(folder))
    return objective


def _print_changes(here: dict[str, Any], recorded: dict[str, Any]) -> None:
    out = console()
    for key, old, new in differences(here, recorded):
        before, now = ("absent" if value is ABSENT else repr(value) for value in (old, new))
        out.print(f"changed   {key}: {before} in the record, {now} here")


def check_inputs(experiment: Experiment, record: Record, given: Collection[str]) -> None:
    """See that a run reads the parents, models, files and data that the record names.

    Data with settings among the `given` keys may differ.

    Raises:
        ArtifactError: a parent or a model is another one.
        DataError: data or unlabeled files are other ones.
    """
    source = experiment.data
    settings = {f"data.{name}" for name in type(source).model_fields} - {f"data.{name}" for name in source.paths}
    other_data = "data" in given or bool(settings & set(given))
    parts = [part for part in PARTS if part != "config" and not (part == "data" and other_data)]
    this = identity_of(inputs_of(experiment, {}))
    for part, line in differences_of(this, identity_in(record), parts):
        raise (DataError if part in ("data", "unlabeled_files") else ArtifactError)(f"{line}, as in the record")
