"""Train a student on its teacher's outputs, and a label-only baseline for comparison."""

import copy
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from chirplet.artifact.artifact import Artifact
from chirplet.callback.base import LAST
from chirplet.config.schema import as_list
from chirplet.data.table.files import check_readers
from chirplet.model.loading.blueprint import Blueprint
from chirplet.stage.distillation.settings import DistillSettings
from chirplet.stage.run.context import Run
from chirplet.system.error import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from chirplet.stage.distillation.data import DistillationData
    from chirplet.stage.distillation.student import Start


class Distill(DistillSettings):
    """Distillation. `DistillSettings` declares the keys."""

    def check_needs(self) -> None:
        super().check_needs()
        check_readers(as_list(self.unlabeled_files), self.unlabeled.format)

    @property
    def checkpoints(self) -> int:
        return 4 if self.label_only_baseline else 2

    def parents(self, run: Run) -> list[Blueprint]:
        if self.teacher is None:
            raise ConfigError("teacher: is missing; give the folder of an artifact, teacher=DIR, or teacher=[DIR,DIR]")
        from chirplet.stage.run.parent import artifact_blueprint

        return [artifact_blueprint(folder, "teacher") for folder in as_list(self.teacher)]

    def check_model(self, parents: Sequence[Blueprint]) -> Blueprint:
        from chirplet.model.structure.cutting import cut_config
        from chirplet.stage.distillation.data import other_tokens
        from chirplet.stage.distillation.student import student_blueprint

        teacher = parents[0]
        if self.student is None:
            teacher.check_weights("teacher")
        student = teacher if self.student is None else student_blueprint(self.student)
        if self.student_cut is not None:
            student = replace(student, config=cut_config(student.config, self.student_cut))
        for name, distiller in self.distiller.items():
            distiller.check(student.config, teacher.config)
            if distiller.looks_inside:
                teacher.check_weights("teacher")
            both = teacher.final and student.final
            if distiller.looks_inside and both and teacher.tokenizer.get_vocab() != student.tokenizer.get_vocab():
                raise other_tokens(name, "their vocabularies differ")
        return student

    def run(self, run: Run) -> float | None:
        """Train the student, then its label-only baseline, evaluate both and write the student's artifact."""
        from chirplet.stage.distillation.data import make_distillation_data
        from chirplet.stage.distillation.label_only_baseline import resumed_phases
        from chirplet.stage.distillation.student import cut_start, own_start
        from chirplet.stage.distillation.teachers import check_val_unseen, open_teachers
        from chirplet.stage.distillation.training import student_of, train_student
        from chirplet.stage.fit.seeding import seed_everything
        from chirplet.stage.output.write_artifact import print_result, print_start
        from chirplet.stage.run.loggers import log_artifact, open_loggers

        seed_everything(run)
        resume, baseline_resume = resumed_phases(self.resume)
        corpus = run.corpus()
        self.check_splits(corpus)
        teachers = open_teachers(as_list(self.teacher), corpus, run, self.combine, self.out_of_fold, self.other_data)
        if self.student is None:
            if self.out_of_fold:
                check_val_unseen(teachers.artifacts[0], corpus, run)
            start = cut_start(teachers.artifacts[0], self.cut, corpus, run)
        else:
            start = own_start(self.student, self.student_cut, corpus, run, self.other_data)
        print_start(start.data, start.loaded, run)
        distillation_data = make_distillation_data(self, as_list(self.unlabeled_files), corpus, teachers, run)
        untrained = copy.deepcopy(start.loaded.model) if self.label_only_baseline else None
        student = student_of(self, start, distillation_data, run)
        teacher_records = [teacher.record for teacher in distillation_data.teachers.artifacts]
        with open_loggers(run, "distill", start.lineage, teacher_records) as loggers:
            training = train_student(self, student, start, distillation_data, run, loggers, resume)
            training |= {"texts": distillation_data.summary, "teachers": teachers.summary(corpus)}
            training["tokens"] = asdict(start.data.counts)
            artifact = self._finish(run, start, distillation_data, training, untrained, (resume, baseline_resume))
            log_artifact(loggers, artifact, corpus)
        print_result(artifact)
        return artifact.metric(run.objective)

    def _finish(
        self,
        run: Run,
        start: "Start",
        distillation_data: "DistillationData",
        training: dict[str, Any],
        untrained: "PreTrainedModel | None",
        resumed: tuple[str | None, str | None],
    ) -> Artifact:
        """Train the label-only baseline if one is configured, and write the student's artifact with its metrics."""
        from chirplet.stage.distillation.label_only_baseline import baseline_results, baseline_run
        from chirplet.stage.distillation.training import train_baseline
        from chirplet.stage.fit.fit import checkpoint_folder, resumable_from
        from chirplet.stage.output.write_artifact import Outcome, save_trained, write_outcome

        splits, summarize = self.evaluated(), None
        resume, baseline_resume = resumed
        last = checkpoint_folder(run, resume) / LAST
        if untrained is not None:
            baseline = train_baseline(self, untrained, start, distillation_data, run, training["steps"], resumed)
            summarize = baseline_results(run, untrained, baseline, start.data, splits, self.eval_batch_size)
            last = checkpoint_folder(baseline_run(run, resume, training["steps"]), baseline_resume) / LAST
        settings = self.recorded_settings("student", *(["cut"] if self.student_cut is None else []))
        outcome = Outcome("distill", self.method, settings, start.lineage, training)
        save = save_trained(run, start.loaded.model, start.data)
        with resumable_from(last):
            return write_outcome(
                run, outcome, save, start.data, splits, self.eval_batch_size, self.cost_on(run), summarize
            )
