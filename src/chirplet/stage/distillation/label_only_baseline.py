"""The label-only baseline of a distilled student: the same initial weights and steps, trained on labels alone."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chirplet.artifact.predictions import BASELINE_PREDICTIONS, write_predictions
from chirplet.callback.base import LAST
from chirplet.callback.early_stopping import EarlyStoppingSettings
from chirplet.data.base import Examples, Split
from chirplet.metric.names import METRICS
from chirplet.metric.significance import LEVEL, RESAMPLES, accuracy_difference
from chirplet.stage.fit.fit import checkpoint_folder
from chirplet.stage.output.write_artifact import SplitLogits, evaluate_splits, trained_runtime
from chirplet.stage.run.context import AUTO, Run
from chirplet.stage.run.prepared import Prepared
from chirplet.system.error import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FOLDER = "label_only_baseline"
"""The baseline's folder below the run's output folder."""

MOST_VALIDATIONS = 10
"""Most validations of the baseline for each validation of the student."""


def baseline_run(run: Run, resume: str | None, steps: int, labeled: float = 1.0) -> Run:
    """The baseline's run, which trains for the student's `steps` without early stopping.

    If only a share `labeled` of the student's texts has labels, the baseline repeats the labeled texts within an epoch.
    It is validated after each repetition, at most `MOST_VALIDATIONS` times per validation of the student, so that a
    checkpoint from before overfitting can be chosen. Its checkpoints are below the student's.
    """
    interval = run.trainer.val_check_interval * max(labeled, 1 / MOST_VALIDATIONS)
    return replace(
        run,
        output_dir=checkpoint_folder(run, resume).parent / FOLDER,
        trainer=run.trainer.model_copy(update={"max_steps": steps, "val_check_interval": interval}),
        callbacks={
            name: entry for name, entry in run.callbacks.items() if not isinstance(entry, EarlyStoppingSettings)
        },
    )


def resumed_phases(resume: str | None) -> tuple[str | None, str | None]:
    """The checkpoints that the student and its baseline resume from. With `AUTO` each finds its newest one.

    A checkpoint of the baseline implies that the student was finished. The student is then restored from its last
    checkpoint without further training.

    Raises:
        ConfigError: that checkpoint of the student is missing.
    """
    if resume is None or resume == AUTO:
        return resume, resume
    folder = Path(resume).expanduser().absolute().parent
    if folder.parent.name != FOLDER:
        return resume, None
    last = folder.parent.parent / folder.name / LAST
    if not last.is_file():
        raise ConfigError(
            f"resume: got {resume!r}, a checkpoint of the label-only baseline, but the student's {str(last)!r} is "
            "missing; resume=auto in the same hydra.run.dir trains the student again, then resumes the baseline"
        )
    return str(last), resume


def as_many(train: Examples, count: int, seed: int) -> Examples:
    """Repeat the labeled texts until there are `count`, so that an epoch has as many steps as the student's.

    A random sample is repeated once more than the rest, since a file may be sorted.
    """
    if len(train) == count:
        return train
    return train.take(np.resize(np.random.default_rng(seed).permutation(len(train)), count))


def baseline_results(
    run: Run,
    baseline: "PreTrainedModel",
    training: dict[str, Any],
    data: Prepared,
    splits: Sequence[Split],
    batch_size: int,
) -> Callable[[Path, SplitLogits], dict[str, Any]]:
    """The callback that `write_outcome` calls after it evaluated the student.

    It returns the baseline's metrics and the difference in accuracy with its interval, and writes the baseline's
    predictions into the student's folder.
    """

    def summarize(folder: Path, student: SplitLogits) -> dict[str, Any]:
        evaluated = evaluate_splits(trained_runtime(run, baseline), data, splits, batch_size)
        task = data.task
        write_predictions(folder, {str(split): pair for split, pair in evaluated.items()}, task, BASELINE_PREDICTIONS)
        results: dict[str, Any] = {"training": training}
        for split, (examples, logits) in evaluated.items():
            targets = task.targets(examples)
            right, others = (task.right(each, targets) for each in (student[split][1], logits))
            difference = accuracy_difference(right, others, level=LEVEL, resamples=RESAMPLES, seed=run.seed)
            metrics = task.evaluate(logits, targets, data.corpus.labels)
            results[split] = {name: metrics[name] for name in METRICS}
            results[split]["difference"] = difference.model_dump()
        return {"label_only_baseline": results}

    return summarize
