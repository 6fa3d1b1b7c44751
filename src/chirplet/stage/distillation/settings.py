"""The settings of distillation."""

from abc import ABC
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SerializeAsAny, field_validator, model_validator

from chirplet.artifact.artifact import check_folder
from chirplet.config.schema import Fraction, Index, Probability, as_list
from chirplet.data.table.dialect import TableSettings
from chirplet.data.table.files import format_of, table_files
from chirplet.distiller.base import Distiller
from chirplet.model.pretrained import Pretrained
from chirplet.model.structure.cutting import Cut
from chirplet.stage.fit.settings import TrainingStage
from chirplet.system.error import ArtifactError, DataError


class DistillSettings(TrainingStage, ABC):
    """The teachers, the student, the losses and the data, in addition to the settings of `TrainingStage`.

    `teacher` is the folder of one artifact or several. `cut` says how the student is cut from `student`, or from the
    first teacher where that is null. `unlabeled` says how `unlabeled_files` are read. `distiller` has the distillation
    losses by name, and `alpha` is the weight of the labels' loss. With `label_only_baseline` the same student is also
    trained from the same initial weights for as many steps on labels alone.
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
    unlabeled: TableSettings
    augmentations_per_text: Index
    word_drop: Fraction
    label_only_baseline: bool

    @field_validator("teacher", mode="before")
    @classmethod
    def _no_model(cls, teacher: object) -> object:
        if isinstance(teacher, Pretrained):
            raise ValueError(
                "got a model that is not fine-tuned, should be the folder of an artifact, teacher=DIR; "
                "stage=chain fine-tunes model@teacher=NAME first, then distils it"
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
    def _files_exist(cls, unlabeled_files: str | list[str] | None) -> list[str]:
        return table_files(unlabeled_files, "a file of texts")

    @field_validator("distiller", mode="before")
    @classmethod
    def _without_null(cls, distillers: object) -> object:
        if not isinstance(distillers, dict):
            return distillers
        return {name: distiller for name, distiller in distillers.items() if distiller is not None}

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if not self.distiller:
            raise ValueError("distiller: is empty, should name at least one, for example distiller=logits")
        inside = [name for name, distiller in self.distiller.items() if distiller.looks_inside]
        teachers = as_list(self.teacher)
        if inside and len(teachers) > 1:
            raise ValueError(
                f"distiller: got {inside[0]}, which needs the layers of one teacher, and {len(teachers)} teachers; "
                "should be logits alone, or give one teacher"
            )
        if self.out_of_fold and len(teachers) == 1:
            raise ValueError("out_of_fold: got true with one teacher, should be false, or give one teacher per fold")
        if bool(self.augmentations_per_text) != bool(self.word_drop):
            raise ValueError(
                f"augmentations_per_text and word_drop: got {self.augmentations_per_text} and {self.word_drop:g}, "
                "should both be 0 or neither"
            )
        if self.student is not None and not self.cut.pretrained:
            raise ValueError(
                "cut.pretrained: got false, should be true with model@student; student.pretrained=false starts from "
                "random weights"
            )
        return self

    @model_validator(mode="after")
    def _formats_known(self) -> Self:
        try:
            for file in as_list(self.unlabeled_files):
                format_of(file, self.unlabeled.format)
        except DataError as error:
            names = {"data.format": "stage.unlabeled.format"}
            raise ValueError(f"unlabeled_files: {error.renamed(names)}") from None
        return self

    @property
    def student_cut(self) -> Cut | None:
        """How the student is cut; None for a whole `student`, which the default `cut` leaves as it is."""
        return None if self.student is not None and self.cut.is_default else self.cut

    @property
    def method(self) -> str:
        """The distillers' names, for the record."""
        return " + ".join(self.distiller)
