"""The untrained student: a model that the user names, or the teacher; either may be cut down."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from chirplet.artifact.artifact import RECORD, Ancestor, Artifact
from chirplet.data.base import Corpus
from chirplet.model.family import family_of
from chirplet.model.loading.blueprint import Blueprint, blueprint_of
from chirplet.model.loading.checkpoint import Origin
from chirplet.model.loading.load import LoadedModel, load_model, load_tokenizer
from chirplet.model.pretrained import Pretrained
from chirplet.model.structure.cutting import Cut, cut_down
from chirplet.stage.output.write_artifact import lineage_of
from chirplet.stage.run.compatibility import check_data, check_val_untrained
from chirplet.stage.run.context import Run
from chirplet.stage.run.parent import lineage_from, prepared, trainable
from chirplet.stage.run.prepared import Prepared
from chirplet.system.error import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

KEYS = {"model.": "student.", "model": "model@student"}
"""The model's keys in errors, and the student's keys that replace them."""


@dataclass(frozen=True)
class Start:
    """An untrained student, the corpus with its tokenizer, and its lineage."""

    loaded: LoadedModel
    data: Prepared
    lineage: list[Ancestor]


def own_start(settings: Pretrained, cut: Cut | None, corpus: Corpus, run: Run, other_data: bool) -> Start:
    """The student that `model@student` names, cut down if `cut` is given, with its cleaning and tokenizer.

    Raises:
        ArtifactError: it is an artifact that was made from other texts, and `other_data` is false.
        ConfigError: it has fewer layers or neurons than `cut` keeps.
        ModelError: it cannot be loaded, is damaged or incomplete.
    """
    if settings.pretrained and settings.is_folder and (settings.folder / RECORD).is_file() and not other_data:
        artifact = Artifact.open(settings.folder)
        check_data(artifact, corpus, run, key="student")
        check_val_untrained(artifact, "student")
    with _student_keys():
        loaded = load_model(settings, corpus.labels, run.seed, run.task.problem_type)
        tokenizer = load_tokenizer(settings)
    data = Prepared.for_model(settings, tokenizer, corpus, run)
    lineage = lineage_of(replace(run, model=settings), loaded)
    if cut is not None:
        smaller = cut_down(loaded.model, cut, run.seed)
        origin = replace(loaded.origin, name=_title(smaller, loaded.model, loaded.origin.name))
        loaded = replace(loaded, model=smaller, origin=origin)
    return Start(loaded, data, lineage)


def student_blueprint(settings: Pretrained) -> Blueprint:
    """The student that `model@student` names, without its weights.

    Raises:
        ModelError: it cannot be downloaded, is damaged or not supported.
    """
    with _student_keys():
        return blueprint_of(settings)


@contextmanager
def _student_keys() -> Iterator[None]:
    """Name the student's keys in errors about the model."""
    try:
        yield
    except ModelError as error:
        raise error.renamed(KEYS) from error


def cut_start(teacher: Artifact, cut: Cut, corpus: Corpus, run: Run) -> Start:
    """The teacher cut down, with its cleaning, tokenizer and lineage.

    Raises:
        ArtifactError: the teacher was trained on its validation texts.
        ConfigError: the teacher has fewer layers, heads or neurons than `cut` keeps.
    """
    check_val_untrained(teacher, "teacher")
    uncut = trainable(teacher.folder)
    model = cut_down(uncut, cut, run.seed)
    lineage = lineage_from(teacher)
    if not cut.pretrained:
        name = teacher.record.lineage[0].name
        lineage = [Ancestor(name=name, revision=None, weights_sha256=None, pretrained=False, artifact=None, stage=None)]
    parent = lineage[-1]
    title = _title(model, uncut, teacher.record.lineage[0].name)
    origin = Origin(title, None, parent.weights_sha256, parent.pretrained, parent.artifact)
    return Start(LoadedModel(model, origin), prepared(teacher, corpus, run.cache_dir), lineage)


def _title(model: "PreTrainedModel", uncut: "PreTrainedModel", name: str) -> str:
    layers, uncut_layers = (family_of(one).sizes(one.config).layers for one in (model, uncut))
    return f"{layers} of {uncut_layers} layers of {name}"
