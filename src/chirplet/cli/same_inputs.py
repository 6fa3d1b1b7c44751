"""Whether a run would read what a record says another one has read."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from chirplet.artifact.artifact import RECORD, Artifact, Record
from chirplet.cli.binding import Experiment
from chirplet.config.schema import as_list
from chirplet.model.pretrained import Pretrained
from chirplet.stage.distill import Distill
from chirplet.stage.distillation.unlabeled import file_hashes
from chirplet.stage.finetune import Finetune
from chirplet.stage.run.context import given_artifact
from chirplet.system.error import ArtifactError, DataError, UserError
from chirplet.system.hashing import file_hash


def check_same(experiment: Experiment, record: Record, own: Collection[str]) -> None:
    """See that parents, models, files of texts and the data are those that the record tells of.

    Data whose settings are among the user's `own` may be others.

    Raises:
        ArtifactError: a parent or a model is another one.
        DataError: texts are other ones.
    """
    stage = experiment.stage
    if isinstance(stage, Distill):
        _check_teachers(stage, record)
        _check_unlabeled(stage, record)
    elif not isinstance(stage, Finetune):
        folder: str | None = getattr(stage, "artifact", None)
        _check_parent("artifact", Path(given_artifact(folder)), record)
    models: dict[str, Pretrained | None] = {"model": experiment.model, "student": experiment.student}
    key = "model" if isinstance(stage, Finetune) else "student" if isinstance(stage, Distill) else None
    model = None if key is None else models[key]
    if key is not None and model is not None and model.is_folder:
        _check_model(f"{key}.name_or_path", model, record)
    _check_data(experiment, record, own)


def reads_same_inputs(experiment: Experiment, record: Record) -> bool:
    """Whether the run that the record tells of read what this one would read."""
    try:
        check_same(experiment, record, own=())
    except UserError:
        return False
    return True


def _check_parent(key: str, folder: Path, record: Record) -> None:
    given = Artifact.open(folder.expanduser()).record.id
    if given != record.parent:
        raise ArtifactError(
            f"{key}: {str(folder)!r} has the id {given[:12]}, should be {str(record.parent)[:12]}, as in the record"
        )


def _check_teachers(stage: Distill, record: Record) -> None:
    folders = as_list(stage.teacher)
    given = list(dict.fromkeys(Artifact.open(Path(folder).expanduser()).record.id[:12] for folder in folders))
    wanted = record.training.get("teachers", {})
    if given != list(wanted):
        raise ArtifactError(
            f"teacher: got {', '.join(given)}, should be {teachers_of(wanted)}, as the record names them"
        )


def _check_unlabeled(stage: Distill, record: Record) -> None:
    given = file_hashes(as_list(stage.unlabeled_files))
    wanted = unlabeled_hashes(record)
    if list(given.values()) != list(wanted.values()):
        raise DataError(
            f"unlabeled_files: got {', '.join(given) or 'null'}, should be the record's file: "
            f"{', '.join(wanted) or 'null'}"
        )


def _check_model(key: str, model: Pretrained, record: Record) -> None:
    from chirplet.model.loading.checkpoint import weight_files

    if record.parent is not None and (model.folder / RECORD).is_file():
        _check_parent(key, model.folder, record)
    digest = record.lineage[-1].weights_sha256
    if digest is None:
        return
    given = file_hash(*weight_files(model, model.folder))
    if given != digest:
        raise ArtifactError(
            f"{key}: {str(model.folder)!r} holds other weights than the record names (SHA-256 {given[:12]}, "
            f"should be {digest[:12]})"
        )


def _check_data(experiment: Experiment, record: Record, own: Collection[str]) -> None:
    from chirplet.data.preparation.prepare import prepare

    source = experiment.data
    settings = {f"data.{name}" for name in type(source).model_fields} - {f"data.{name}" for name in source.paths}
    if "data" in own or settings & set(own):
        return
    corpus = prepare(source, Path(experiment.cache_dir).expanduser())
    if corpus.fingerprint != record.data.fingerprint:
        raise DataError(
            f"data: gives other texts or splits than the record's (fingerprint {corpus.fingerprint[:12]}, should be "
            f"{record.data.fingerprint[:12]}); should be the files it was made from"
        )


def teachers_of(told: dict[str, Any]) -> str:
    """The teachers in a record, as a message names them."""
    return ", ".join(f"{identity} (of stage={teacher.get('stage')})" for identity, teacher in told.items())


def unlabeled_hashes(record: Record) -> dict[str, str]:
    """SHA-256 of each file without labels that a student read, by its name; other stages record a number of texts."""
    examples = record.training.get("texts")
    return examples.get("unlabeled_files", {}) if isinstance(examples, dict) else {}
