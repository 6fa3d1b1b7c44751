"""Train a student on its teachers' outputs, and its baseline on labels alone."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pytorch_lightning.loggers import Logger
from torch import Tensor
from torch.utils.data import DataLoader

from chirplet.data.base import Examples
from chirplet.data.batching.batches import ResumableLoader
from chirplet.model.family import family_of
from chirplet.model.fast_forward.encoder import Encoder
from chirplet.module.classifier import Classifier
from chirplet.module.distillation import TEACHER_LOGITS, Student
from chirplet.module.step.training_module import Optimization
from chirplet.stage.distillation.data import DistillationData, check_shared_tokens
from chirplet.stage.distillation.label_only_baseline import FOLDER, as_many, baseline_run
from chirplet.stage.distillation.student import Start
from chirplet.stage.fit.fit import fit
from chirplet.stage.fit.loaders import training_batches, validation_batches
from chirplet.stage.fit.seeding import seed_everything
from chirplet.stage.run.context import Run
from chirplet.stage.run.loggers import open_loggers
from chirplet.stage.run.parent import trainable
from chirplet.stage.run.prepared import Prepared
from chirplet.system.console import console
from chirplet.task.base import Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from chirplet.stage.distillation.settings import DistillSettings


def train_student(
    stage: "DistillSettings",
    student: Student,
    start: Start,
    distillation_data: DistillationData,
    run: Run,
    loggers: Sequence[Logger],
    resume: str | None,
) -> dict[str, Any]:
    """Compute the teachers' logits and train the student. Returns what `fit` does, and `teacher_seconds`.

    `teacher_seconds` is the time the teachers took, near 0 if all logits were cached.
    """
    title = distillation_data.teachers.title()
    console().print(f"student: {len(distillation_data.examples):,} texts, {stage.method} of {title}", highlight=False)
    started = time.perf_counter()
    extra = {TEACHER_LOGITS: distillation_data.logits(run, stage.eval_batch_size)}
    teacher_time = {"teacher_seconds": time.perf_counter() - started}
    return teacher_time | fit(
        run, student, *_loaders(stage, start.data, distillation_data.examples, run, extra), loggers, resume
    )


def train_baseline(
    stage: "DistillSettings",
    model: "PreTrainedModel",
    start: Start,
    distillation_data: DistillationData,
    run: Run,
    steps: int,
    resumed: tuple[str | None, str | None],
) -> dict[str, Any]:
    """Train `model`, the untrained student, on labels alone for `steps`. Returns what `fit` does.

    The schedule is the student's, even if the student stopped early. The training has separate loggers and reports
    nothing to a sweep. `resumed` is the result of `resumed_phases`.
    """
    console().print("label-only baseline: the same student and steps, without the teacher", highlight=False)
    seed_everything(run)
    train = start.data.corpus.train
    examples = as_many(train, len(distillation_data.examples), run.seed)
    loaders = _loaders(stage, start.data, examples, run, {})
    optimization = stage.optimization(model, _steps(stage, distillation_data, run))
    baseline = Classifier(*_classifier_arguments(stage, model, start, run, optimization))
    resume, baseline_resume = resumed
    logged_run = replace(run, output_dir=run.output_dir / FOLDER)
    training_run = baseline_run(run, resume, steps, len(train) / len(examples))
    with open_loggers(logged_run, "label_only_baseline", start.lineage) as loggers:
        return fit(training_run, baseline, *loaders, loggers, baseline_resume, reported=False)


def student_of(stage: "DistillSettings", start: Start, distillation_data: DistillationData, run: Run) -> Student:
    """The student's Lightning module. Invalid combinations raise here, before the teachers' logits are computed.

    Raises:
        ConfigError: a distiller needs the layers of a teacher that tokenizes otherwise, or does not fit these two
            models; or there is not one class weight per label.
        ArtifactError: a distiller needs the layers of a teacher that is for another runtime than PyTorch.
    """
    model, teacher, teachers = start.loaded.model, None, distillation_data.teachers.artifacts
    inside = [name for name, distiller in stage.distiller.items() if distiller.looks_inside]
    if inside:
        check_shared_tokens(inside[0], distillation_data, start.data, teachers[0])
        teacher = trainable(teachers[0].folder)
    teacher_config = None if teacher is None else teacher.config
    task = start.data.task
    imitations = {
        name: distiller.imitation(task, model.config, teacher_config) for name, distiller in stage.distiller.items()
    }
    optimization = stage.optimization(model, _steps(stage, distillation_data, run))
    projections = [parameter for imitation in imitations.values() for parameter in imitation.parameters()]
    if projections:
        optimization.groups.append({"params": projections, "lr": stage.learning_rate, "weight_decay": 0.0})
    return Student(
        *_classifier_arguments(stage, model, start, run, optimization),
        alpha=stage.alpha,
        imitations=imitations,
        weights={name: distiller.weight for name, distiller in stage.distiller.items()},
        teacher=teacher,
    )


def _classifier_arguments(
    stage: "DistillSettings", model: "PreTrainedModel", start: Start, run: Run, optimization: Optimization
) -> tuple["PreTrainedModel", Task, tuple[str, ...], Optimization, float, Tensor | None, Encoder]:
    """The arguments that the modules of the student and of its baseline share."""
    corpus = start.data.corpus
    model.train()  # Lightning does not switch the mode
    family_of(model).word_embeddings(model).sparse = run.trainer.resolved_rowwise_embeddings()
    task = start.data.task
    weights = stage.loss_weights(task, corpus.train, corpus.labels)
    return model, task, corpus.labels, optimization, stage.label_smoothing, weights, run.trainer.resolved_encoder()


def _steps(stage: "DistillSettings", distillation_data: DistillationData, run: Run) -> int:
    return run.trainer.optimizer_steps(-(-len(distillation_data.examples) // stage.batch_size))


def _loaders(
    stage: "DistillSettings", data: Prepared, train: Examples, run: Run, extra: Mapping[str, NDArray[np.float32]]
) -> tuple[ResumableLoader, DataLoader[Any]]:
    return (
        training_batches(run, data, train, stage.batch_size, extra),
        validation_batches(run, data, stage.eval_batch_size),
    )
