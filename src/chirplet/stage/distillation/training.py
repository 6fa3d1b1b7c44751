"""The training of a student by its teachers, and of its control by labels alone."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pytorch_lightning.loggers import Logger
from torch import Tensor
from torch.utils.data import DataLoader

from chirplet.data.base import Tweets
from chirplet.data.batching.batches import ResumableLoader, evaluation_loader, training_loader
from chirplet.model.family import family_of
from chirplet.model.fast_forward.encoder import Encoder
from chirplet.module.classifier import Classifier, Optimization
from chirplet.module.distillation import TEACHER_LOGITS, Student
from chirplet.stage.distillation.data import Lesson, check_shared_tokens
from chirplet.stage.distillation.label_only_baseline import FOLDER, as_many, control_run
from chirplet.stage.distillation.student import Start, open_inside
from chirplet.stage.fit.fit import fit
from chirplet.stage.fit.seeding import seed_everything
from chirplet.stage.run.context import Run
from chirplet.stage.run.loggers import open_loggers
from chirplet.stage.run.prepared import Prepared
from chirplet.system.console import console
from chirplet.task.base import Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from chirplet.stage.distillation.settings import DistillSettings


def teach(
    stage: "DistillSettings",
    student: Student,
    start: Start,
    lesson: Lesson,
    run: Run,
    loggers: Sequence[Logger],
    resume: str | None,
) -> dict[str, Any]:
    """Ask the teachers and train the student; an account for the record, as `fit` gives it.

    `teacher_seconds` are those that the teachers took, hardly any where all that they say was cached.
    """
    title = lesson.teachers.title()
    console().print(f"student: {len(lesson.tweets):,} tweets, {stage.method} of {title}", highlight=False)
    started = time.perf_counter()
    beside = {TEACHER_LOGITS: lesson.logits(run, stage.eval_batch_size)}
    asked = {"teacher_seconds": time.perf_counter() - started}
    return asked | fit(run, student, *_loaders(stage, start.data, lesson.tweets, run, beside), loggers, resume)


def teach_control(
    stage: "DistillSettings",
    model: "PreTrainedModel",
    start: Start,
    lesson: Lesson,
    run: Run,
    steps: int,
    resumed: tuple[str | None, str | None],
) -> dict[str, Any]:
    """Train `model`, the student as it started, on labels alone for its `steps`; an account as `fit` gives it.

    Its schedule is the student's, also where that one was stopped early. It has loggers of its own, and a sweep is not
    told of it. `resumed` is what `resumed_phases` gave.
    """
    console().print("control: the same student and steps, labels alone", highlight=False)
    seed_everything(run)
    train = start.data.corpus.train
    tweets = as_many(train, len(lesson.tweets), run.seed)
    loaders = _loaders(stage, start.data, tweets, run, {})
    optimization = stage.optimization(model, _steps(stage, lesson, run))
    control = Classifier(*_classifier_arguments(stage, model, start, run, optimization))
    resume, control_resume = resumed
    own = replace(run, output_dir=run.output_dir / FOLDER)
    followed = control_run(run, resume, steps, len(train) / len(tweets))
    with open_loggers(own, "control", start.lineage) as loggers:
        return fit(followed, control, *loaders, loggers, control_resume, reported=False)


def student_of(stage: "DistillSettings", start: Start, lesson: Lesson, run: Run) -> Student:
    """The module that learns the lesson; what cannot be is refused here, before the teachers are asked.

    Raises:
        ConfigError: a distiller looks inside a teacher that reads other tokens, or cannot be between these two, or
            class weights are not one a label.
        ArtifactError: it looks inside a teacher that is for another runtime than PyTorch.
    """
    model, teacher, teachers = start.loaded.model, None, lesson.teachers.artifacts
    inside = [name for name, distiller in stage.distiller.items() if distiller.looks_inside]
    if inside:
        check_shared_tokens(inside[0], lesson, start.data, teachers[0])
        teacher = open_inside(teachers[0], f"distiller={inside[0]} looks at its layers")
    told = None if teacher is None else teacher.config
    task = start.data.task
    imitations = {name: distiller.imitation(task, model.config, told) for name, distiller in stage.distiller.items()}
    optimization = stage.optimization(model, _steps(stage, lesson, run))
    own = [parameter for imitation in imitations.values() for parameter in imitation.parameters()]
    if own:
        optimization.groups.append({"params": own, "lr": stage.learning_rate, "weight_decay": 0.0})
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
    """The arguments that the student's module and its control's share."""
    corpus = start.data.corpus
    model.train()  # Lightning keeps the mode it finds
    family_of(model).word_embeddings(model).sparse = run.trainer.rowwise_embeddings
    task = start.data.task
    weights = stage.loss_weights(task, corpus.train, corpus.labels)
    return model, task, corpus.labels, optimization, stage.label_smoothing, weights, run.trainer.encoder


def _steps(stage: "DistillSettings", lesson: Lesson, run: Run) -> int:
    return run.trainer.optimizer_steps(-(-len(lesson.tweets) // stage.batch_size))


def _loaders(
    stage: "DistillSettings", data: Prepared, train: Tweets, run: Run, beside: Mapping[str, NDArray[np.float32]]
) -> tuple[ResumableLoader, DataLoader[Any]]:
    val, multiple = data.corpus.val, run.trainer.pad_to_multiple_of
    tokens, pool = data.tokens(train), run.trainer.pool_batches
    return (
        training_loader(
            tokens, data.task.targets(train), data.pad_id, stage.batch_size, run.seed, pool, multiple, beside
        ),
        evaluation_loader(data.tokens(val), data.task.targets(val), data.pad_id, stage.eval_batch_size, multiple),
    )
