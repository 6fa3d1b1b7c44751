"""The settings of distillation."""

from abc import ABC
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SerializeAsAny, field_validator, model_validator

from chirplet.artifact.artifact import check_folder
from chirplet.config.schema import Fraction, Index, Probability, as_list, existing_file
from chirplet.data.table.text_io import Encoding
from chirplet.distiller.base import Distiller
from chirplet.model.pretrained import Pretrained
from chirplet.model.structure.cutting import Cut
from chirplet.stage.fit.settings import TrainingStage
from chirplet.system.error import ArtifactError


class DistillSettings(TrainingStage, ABC):
    """Who teaches whom, what, and from which texts; beside what every stage that trains has.

    `distiller` is what the student imitates, by name. `alpha` is the labels' share of the loss. `teacher` is an
    artifact or several of them. `student: null` is the first teacher, `cut` down. With `control` the same student is
    trained from the same start for as many steps on labels alone.
    """

    teacher: str | Annotated[list[str], Field(min_length=1)] | None
    combine: Literal["mean", "validation"]
    out_of_fold: bool
    other_data: bool
    student: Pretrained | None
    cut: Cut
    distiller: dict[str, SerializeAsAny[Distiller]]
    alpha: Probability
    unlabeled_files: str | list[str] | None
    unlabeled_column: str
    unlabeled_encoding: Encoding
    augmentations_per_text: Index
    word_drop: Fraction
    label_only_baseline: bool

    @field_validator("teacher", mode="before")
    @classmethod
    def _no_model(cls, teacher: object) -> object:
        if isinstance(teacher, Pretrained):
            raise ValueError(
                "got a model that is not fine-tuned, should be teacher=DIR, an artifact; stage=chain takes "
                "model@teacher=NAME, fine-tunes it and distils it"
            )
        return teacher

    @field_validator("teacher")
    @classmethod
    def _teachers_exist(cls, teacher: str | list[str] | None) -> str | list[str] | None:
        try:
            for folder in as_list(teacher):
                check_folder(Path(folder).expanduser())
        except ArtifactError as error:
            raise ValueError(str(error)) from None
        return teacher

    @field_validator("unlabeled_files")
    @classmethod
    def _files_exist(cls, unlabeled_files: str | list[str] | None) -> str | list[str] | None:
        for file in as_list(unlabeled_files):
            existing_file(file, "a file of texts")
        return unlabeled_files

    @field_validator("distiller", mode="before")
    @classmethod
    def _without_null(cls, distillers: object) -> object:
        if not isinstance(distillers, dict):
            return distillers
        return {name: distiller for name, distiller in distillers.items() if distiller is not None}

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if not self.distiller:
            raise ValueError("distiller: is empty, should be one or several; distiller=logits is Hinton's")
        inside = [name for name, distiller in self.distiller.items() if distiller.looks_inside]
        teachers = as_list(self.teacher)
        if inside and len(teachers) > 1:
            raise ValueError(
                f"distiller: got {inside[0]}, which looks at one teacher's layers, and {len(teachers)} teachers"
            )
        if self.out_of_fold and len(teachers) == 1:
            raise ValueError("out_of_fold: got true with one teacher, should have one for each fold")
        if bool(self.augmentations_per_text) != bool(self.word_drop):
            raise ValueError(
                f"augmentations_per_text and word_drop: got {self.augmentations_per_text} and {self.word_drop:g}, "
                "should both be 0 or neither"
            )
        if self.student is not None and not self.cut.is_default:
            raise ValueError(f"cut: got {self.cut}, but model@student is no cut teacher; should be one of the two")
        return self

    @property
    def method(self) -> str:
        """Their names, for the record."""
        return " + ".join(self.distiller)
