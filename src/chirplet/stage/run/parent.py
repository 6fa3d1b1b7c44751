"""The artifact that a stage starts from, opened with the data that it was made from."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from chirplet.artifact.artifact import Ancestor, Artifact, Record
from chirplet.data.base import Corpus
from chirplet.model.loading.blueprint import Blueprint, blueprint_of
from chirplet.model.loading.tokenizer import load_tokenizer
from chirplet.model.pretrained import NAME, Pretrained
from chirplet.runtime.open import check_probe, check_runtime
from chirplet.runtime.pytorch import PyTorchRuntime, load_model
from chirplet.stage.run.compatibility import check_data, check_task, trained_on_val
from chirplet.stage.run.context import Run, given_artifact
from chirplet.stage.run.prepared import Prepared
from chirplet.system.console import console
from chirplet.system.error import ModelError
from chirplet.system.hashing import file_hash

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WEIGHTS = "model.safetensors"
ATTENTION: Literal["eager"] = "eager"
"""Scaled dot product attention has a slow backward pass on CPUs."""


@dataclass(frozen=True)
class Parent:
    """An artifact with its model in fp32 on the CPU, in evaluation mode, its data and its children's lineage.

    `lineage` starts at the base model and ends at this artifact.
    """

    artifact: Artifact
    model: "PreTrainedModel"
    data: Prepared
    lineage: list[Ancestor]

    @property
    def record(self) -> Record:
        """The artifact's record."""
        return self.artifact.record

    @property
    def inherited(self) -> dict[str, Any]:
        """Facts about the training that the records of children repeat."""
        return {"final": True} if trained_on_val(self.record) else {}


def open_parent(run: Run, folder: str | None) -> Parent:
    """Open the artifact that `artifact=` names.

    Raises:
        ArtifactError: no folder is given, it is no artifact, or it was made from other texts than `data=` gives or for
            another task than `task=` names.
        ModelError: its weights or tokenizer are damaged, or its probe fails.
    """
    artifact = open_artifact(folder)
    corpus = run.corpus()
    check_data(artifact, corpus, run)
    check_task(artifact, run)
    if trained_on_val(artifact.record):
        console().print("note      the parent was trained on the val texts (stage.final=true): val metrics are biased")
    model = trainable(artifact.folder)
    if run.verify:
        check_probe(PyTorchRuntime(model), artifact.folder)
    return Parent(artifact, model, prepared(artifact, corpus, run.cache_dir), lineage_from(artifact))


def artifact_blueprint(folder: str | None, key: str = "artifact") -> Blueprint:
    """The blueprint of the artifact in `folder`, which `key` names.

    Raises:
        ArtifactError: no folder is given, or it is no artifact.
        ModelError: it has no model, or its tokenizer or configuration is damaged.
        DependencyError: its runtime is not installed.
    """
    artifact = open_artifact(folder)
    runtime = check_runtime(artifact.folder, key)
    try:
        return replace(blueprint_of(settings_of(artifact), weights=False), runtime=runtime)
    except ModelError as error:
        raise error.renamed({NAME: key}) from error


def trainable(folder: Path) -> "PreTrainedModel":
    """The model in `folder` in fp32 on the CPU, in evaluation mode, with eager attention for training.

    Raises:
        ModelError: it is damaged.
    """
    model: PreTrainedModel = load_model(folder).float().eval()
    model.set_attn_implementation(ATTENTION)
    return model


def open_artifact(folder: str | None) -> Artifact:
    """The artifact in `folder`.

    Raises:
        ArtifactError: no folder is given, or it is no artifact.
    """
    return Artifact.open(Path(given_artifact(folder)).expanduser())


def prepared(artifact: Artifact, corpus: Corpus, cache_dir: Path) -> Prepared:
    """The corpus with the artifact's tokenizer, cleaning and maximum length."""
    record = artifact.record
    tokenizer = load_tokenizer(settings_of(artifact))
    return Prepared(corpus, record.task, tokenizer, record.cleaning, record.max_length, cache_dir)


def settings_of(artifact: Artifact) -> Pretrained:
    """Model settings that open the artifact's folder, with the cleaning and maximum length of its record."""
    return Pretrained(
        name_or_path=str(artifact.folder.absolute()),
        revision=None,
        pretrained=True,
        cleaning=artifact.record.cleaning,
        max_length=artifact.record.max_length,
        dropout=0.0,
        classifier_dropout=0.0,
        attention=ATTENTION,
    )


def lineage_from(artifact: Artifact) -> list[Ancestor]:
    """The artifact's lineage, with the artifact at its end."""
    record = artifact.record
    weights = artifact.folder / WEIGHTS
    itself = Ancestor(
        name=artifact.folder.resolve().name,
        revision=None,
        weights_sha256=file_hash(weights) if weights.is_file() else None,
        pretrained=record.pretrained,
        artifact=record.id,
        stage=record.stage,
    )
    return [*record.lineage, itself]
