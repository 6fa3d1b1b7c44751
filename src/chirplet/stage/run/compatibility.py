"""Whether an artifact was made from the texts at hand; without torch, since a comparison needs none."""

from typing import Any

from chirplet.artifact.artifact import RECORD, Artifact, Record
from chirplet.data.base import Corpus
from chirplet.model.pretrained import Pretrained
from chirplet.stage.run.context import Run
from chirplet.system.error import ArtifactError


def check_data(artifact: Artifact, corpus: Corpus, run: Run, key: str = "artifact") -> None:
    """See that `data=` gives the texts, splits and labels that the artifact was made from.

    Otherwise test texts of one could be train texts of the other. `key` is the one that names the artifact.

    Raises:
        ArtifactError: it does not; names the settings that differ.
    """
    record = artifact.record
    if record.data.fingerprint == corpus.fingerprint:
        return
    recorded, given = _data(record.config), _data(run.config)
    if record.data.source != corpus.name:
        differs = f"data={record.data.source}"
    else:
        names = [name for name in recorded if _last_parts(recorded[name]) != _last_parts(given.get(name))]
        differs = " ".join(f"data.{name}={recorded[name]}" for name in names)
    if not differs:
        raise ArtifactError(
            f"{key}: {str(artifact.folder)!r} was made from other texts than data={corpus.name} gives, though the "
            "settings are the same: its files have changed since, or another version of chirplet prepared them; "
            "restore the files, or give the data of then"
        )
    raise ArtifactError(
        f"{key}: {str(artifact.folder)!r} was made from other texts than data={corpus.name} gives; should be {differs}"
    )


def check_task(artifact: Artifact, run: Run, key: str = "artifact") -> None:
    """See that the artifact is for the task of the run. `key` is the one that names the artifact.

    Raises:
        ArtifactError: it is for another one, or for the same with other settings.
    """
    made_for = artifact.record.task
    if made_for != run.task:
        settings = "".join(f" task.{name}={value}" for name, value in made_for.model_dump().items())
        raise ArtifactError(
            f"{key}: {str(artifact.folder)!r} is for another task than task={run.task.name}; "
            f"should be task={made_for.name}{settings}"
        )


def check_val_untrained(artifact: Artifact, key: str) -> None:
    """See that the artifact was not trained on its validation texts, by which what is made from it would be chosen.

    Raises:
        ArtifactError: it was, or what it was made from.
    """
    if trained_on_val(artifact.record):
        raise ArtifactError(
            f"{key}: {str(artifact.folder)!r} was trained on val texts too (stage.final=true), by which what is made "
            "from it would be chosen; should be one that was not"
        )


def trained_on_val(record: Record) -> bool:
    """Whether it was trained on its validation texts, or made from what was."""
    return bool(record.training.get("final"))


def starts_from_val(model: Pretrained) -> bool:
    """Whether a model's weights are those of an artifact that was trained on its validation texts.

    Raises:
        ArtifactError: its record is damaged.
    """
    if not (model.pretrained and model.is_folder and (model.folder / RECORD).is_file()):
        return False
    return trained_on_val(Artifact.open(model.folder).record)


def _data(config: dict[str, Any]) -> dict[str, Any]:
    data = config.get("data", {})
    return data if isinstance(data, dict) else {}


def _last_parts(value: Any) -> Any:
    """The last part of each path, since a record has no others."""
    if isinstance(value, list):
        return [_last_parts(one) for one in value]
    return value.rsplit("/", 1)[-1] if isinstance(value, str) else value
