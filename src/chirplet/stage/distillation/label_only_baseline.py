"""The control of a distilled student: the same student, start and steps, on labels alone."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chirplet.artifact.artifact import BASELINE_PREDICTIONS, write_predictions
from chirplet.callback.base import LAST
from chirplet.callback.early_stopping import EarlyStoppingSettings
from chirplet.data.base import Examples, Split
from chirplet.metric.classification import scalars
from chirplet.metric.significance import LEVEL, RESAMPLES, accuracy_difference
from chirplet.stage.fit.fit import checkpoint_folder
from chirplet.stage.output.write_artifact import SplitLogits, evaluate_splits, trained_runtime
from chirplet.stage.run.context import AUTO, Run
from chirplet.stage.run.prepared import Prepared
from chirplet.system.error import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FOLDER = "label_only_baseline"
"""Below the run's own folder; what it says is told of both."""

MOST_VALIDATIONS = 10
"""Of a control, for each of its student's."""


def baseline_run(run: Run, resume: str | None, steps: int, labeled: float = 1.0) -> Run:
    """The run of a control that ends after the student's `steps`, wherever its own validation would have stopped it.

    Where only a part of the student's texts is `labeled`, the control reads those several times an epoch. It is
    validated after each time, up to `MOST_VALIDATIONS`, so that it too may be taken from before it overfits. Its
    checkpoints are below the student's, also where that is resumed elsewhere.
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
    """The checkpoints that the student and its control go on from; each finds its own where `resume` is `AUTO`.

    A control's checkpoint means that the student was done; its last checkpoint then gives it without new training.

    Raises:
        ConfigError: that one is missing.
    """
    if resume is None or resume == AUTO:
        return resume, resume
    folder = Path(resume).expanduser().absolute().parent
    if folder.parent.name != FOLDER:
        return resume, None
    last = folder.parent.parent / folder.name / LAST
    if not last.is_file():
        raise ConfigError(
            f"resume: {resume!r} is of a control, and the student's own {str(last)!r} is missing; resume=auto in the "
            "same hydra.run.dir trains the student again and then goes on with the control"
        )
    return str(last), resume


def as_many(train: Examples, count: int, seed: int) -> Examples:
    """The labeled texts over and over until they are as many as the student's: epochs then have as many steps.

    Those that are there once more than others are drawn, since a file may be sorted.
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
    """What `write_outcome` asks once the student was judged: the control's figures, and how sure the difference is.

    Its predictions are written beside the student's.
    """

    def account(folder: Path, student: SplitLogits) -> dict[str, Any]:
        evaluated = evaluate_splits(trained_runtime(run, baseline), data, splits, batch_size)
        task = data.task
        write_predictions(folder, {str(split): pair for split, pair in evaluated.items()}, task, BASELINE_PREDICTIONS)
        told: dict[str, Any] = {"training": training}
        for split, (examples, logits) in evaluated.items():
            targets = task.targets(examples)
            right, others = (task.right(each, targets) for each in (student[split][1], logits))
            difference = accuracy_difference(right, others, level=LEVEL, resamples=RESAMPLES, seed=run.seed)
            told[split] = scalars(task.evaluate(logits, targets, data.corpus.labels))
            told[split]["difference"] = difference.model_dump()
        return {"label_only_baseline": told}

    return account
