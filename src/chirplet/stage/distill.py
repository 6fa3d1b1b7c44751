"""Train a student on what its teacher says, and beside it the same student on labels alone."""

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from chirplet.artifact.artifact import Artifact, check_folder
from chirplet.callback.base import LAST
from chirplet.config.schema import Fraction, Index, Probability, existing_file
from chirplet.data.table.text_io import check_encoding
from chirplet.distiller.base import Distiller
from chirplet.model.family.cutting import Cut
from chirplet.model.pretrained import Pretrained
from chirplet.stage.fit.settings import TrainingStage
from chirplet.stage.run.context import Run
from chirplet.system.error import ArtifactError, ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from chirplet.stage.distillation.data import Lesson
    from chirplet.stage.distillation.student import Start

LOCAL_KEYS = {"resume", "teacher", "transfer", "student", "distiller"}
"""Fields that are recorded otherwise: as the teachers, the tweets and the lineage of the artifact, or by the
configuration."""


class Distill(TrainingStage):
    """Who teaches whom, what, and from which tweets; beside what every stage that trains has.

    `alpha` is the labels' share of the loss. `teacher` is an artifact or several of them. `student: null` is the first
    teacher, `cut` down. With `control` the same student is trained from the same start for as many steps on labels
    alone.
    """

    teacher: str | Annotated[list[str], Field(min_length=1)] | None
    combine: Literal["mean", "validation"]
    out_of_fold: bool
    other_data: bool
    student: Pretrained | None
    cut: Cut
    distiller: dict[str, Distiller | None]
    alpha: Probability
    transfer: str | list[str] | None
    transfer_column: str
    transfer_encoding: Annotated[str, AfterValidator(check_encoding)]
    views: Index
    word_drop: Fraction
    control: bool

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
            for folder in _listed(teacher):
                check_folder(Path(folder).expanduser())
        except ArtifactError as error:
            raise ValueError(str(error)) from None
        return teacher

    @field_validator("transfer")
    @classmethod
    def _files_exist(cls, transfer: str | list[str] | None) -> str | list[str] | None:
        for file in _listed(transfer):
            existing_file(file, "a file of tweets")
        return transfer

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if not self.distillers:
            raise ValueError("distiller: is empty, should be one or several; distiller=logits is Hinton's")
        inside = [name for name, distiller in self.distillers.items() if distiller.looks_inside]
        teachers = _listed(self.teacher)
        if inside and len(teachers) > 1:
            raise ValueError(
                f"distiller: got {inside[0]}, which looks at one teacher's layers, and {len(teachers)} teachers"
            )
        if self.out_of_fold and len(teachers) == 1:
            raise ValueError("out_of_fold: got true with one teacher, should have one for each fold")
        if bool(self.views) != bool(self.word_drop):
            raise ValueError(
                f"views and word_drop: got {self.views} and {self.word_drop:g}, should both be 0 or neither"
            )
        if self.student is not None and not self.cut.is_default:
            raise ValueError(f"cut: got {self.cut}, but model@student is no cut teacher; should be one of the two")
        return self

    @property
    def distillers(self) -> dict[str, Distiller]:
        """What the student imitates, by name."""
        return {name: distiller for name, distiller in self.distiller.items() if distiller is not None}

    @property
    def method(self) -> str:
        """Their names, for the record."""
        return " + ".join(self.distillers)

    def run(self, run: Run) -> float | None:
        """Train the student, then its control; judge both and write the student's artifact."""
        if self.teacher is None:
            raise ConfigError("teacher: is missing; give teacher=DIR, an artifact, or teacher=[DIR,DIR]")
        from chirplet.data.preparation.prepare import prepare
        from chirplet.stage.distillation.data import make_lesson
        from chirplet.stage.distillation.label_only_baseline import resumed_phases
        from chirplet.stage.distillation.student import cut_start, own_start
        from chirplet.stage.distillation.teachers import check_val_unseen, open_teachers
        from chirplet.stage.distillation.training import student_of, teach
        from chirplet.stage.fit.fit import seed_everything
        from chirplet.stage.output.write_artifact import tell_opening, tell_result
        from chirplet.stage.run.loggers import open_loggers, tell

        seed_everything(run)
        resume, control_resume = resumed_phases(self.resume)
        corpus = prepare(run.data, run.cache_dir)
        self.check_splits(corpus)
        teachers = open_teachers(_listed(self.teacher), corpus, run, self.combine, self.out_of_fold, self.other_data)
        if self.student is None:
            if self.out_of_fold:
                check_val_unseen(teachers.artifacts[0], corpus, run)
            start = cut_start(teachers.artifacts[0], self.cut, corpus, run)
        else:
            start = own_start(self.student, corpus, run, self.other_data)
        tell_opening(corpus, start.loaded, run)
        lesson = make_lesson(self, _listed(self.transfer), corpus, teachers, run)
        untaught = copy.deepcopy(start.loaded.model) if self.control else None
        student = student_of(self, start, lesson, run)
        taught_by = [teacher.record for teacher in lesson.teachers.artifacts]
        with open_loggers(run, "distill", start.lineage, taught_by) as loggers:
            training = teach(self, student, start, lesson, run, loggers, resume)
            training |= {"tweets": lesson.account, "teachers": teachers.account(corpus)}
            artifact = self._finish(run, start, lesson, training, untaught, (resume, control_resume))
            tell(loggers, artifact, corpus)
        tell_result(artifact)
        return artifact.metric(run.objective)

    def _finish(
        self,
        run: Run,
        start: "Start",
        lesson: "Lesson",
        training: dict[str, Any],
        untaught: "PreTrainedModel | None",
        resumed: tuple[str | None, str | None],
    ) -> Artifact:
        """Train the control, if there is to be one, and write the student's artifact with its figures beside."""
        from chirplet.stage.distillation.label_only_baseline import control_account, control_run
        from chirplet.stage.distillation.training import teach_control
        from chirplet.stage.fit.fit import checkpoint_folder
        from chirplet.stage.output.write_artifact import Outcome, save_trained, write_outcome

        splits, account = self.judged(), None
        resume, control_resume = resumed
        last = checkpoint_folder(run, resume) / LAST
        if untaught is not None:
            told = teach_control(self, untaught, start, lesson, run, training["steps"], resumed)
            account = control_account(run, untaught, told, start.data, splits, self.eval_batch_size)
            last = checkpoint_folder(control_run(run, resume, training["steps"]), control_resume) / LAST
        settings = self.model_dump(exclude=LOCAL_KEYS if self.student is None else {*LOCAL_KEYS, "cut"})
        settings["distiller"] = {name: distiller.model_dump() for name, distiller in self.distillers.items()}
        outcome = Outcome("distill", self.method, settings, start.lineage, training)
        save = save_trained(run, start.loaded.model, start.data)
        try:
            return write_outcome(
                run, outcome, save, start.data, splits, self.eval_batch_size, self.cost_on(run), account
            )
        except ArtifactError as error:
            kept = f"; the same command with resume={last} needs no new training" if last.exists() else ""
            raise ArtifactError(f"{error}{kept}") from error


def _listed(paths: str | list[str] | None) -> list[str]:
    return [] if paths is None else [paths] if isinstance(paths, str) else paths
