"""Results of a finished artifact for loggers, made from its record and predictions."""

from collections.abc import Mapping

import numpy as np

from chirplet.artifact.artifact import Artifact
from chirplet.data.base import SPLITS, Corpus, Split
from chirplet.logger.base import Results, Sheet

WORST = 25
"""Number of shown mistakes, those with the highest loss first."""


def results_of(artifact: Artifact, corpus: Corpus, pages: Mapping[str, str]) -> Results:
    """Results of a stage that made `artifact` from `corpus`, with `pages`.

    Mistakes are those of validation, and of test only without validation, because users adapt their settings to them.
    """
    record = artifact.record
    shown: Split | None = next((split for split in ("val", "test") if split in record.metrics), None)
    return Results(
        scalars=recorded(artifact),
        step=record.training.get("steps", 0),
        labels=record.labels,
        confusions={split: metrics["confusion_matrix"] for split, metrics in record.metrics.items()},
        mistakes={} if shown is None else {shown: worst_mistakes(artifact, corpus, shown)},
        pages=pages,
        artifact=artifact,
    )


def recorded(artifact: Artifact) -> dict[str, float]:
    """All single numbers of the record, as `record/SPLIT/METRIC`, `record/cost/NAME` and of a label-only baseline."""
    baseline = artifact.record.training.get("label_only_baseline", {})
    figures = artifact.scalars() | artifact.costs()
    for split in SPLITS:
        for name, value in baseline.get(split, {}).items():
            if isinstance(value, float):
                figures[f"control/{split}/{name}"] = value
    return {f"record/{name}": value for name, value in figures.items()}


def worst_mistakes(artifact: Artifact, corpus: Corpus, split: Split, count: int = WORST) -> Sheet:
    """The wrongly labeled texts with the highest loss (nats), highest first."""
    predictions, labels = artifact.predictions(split), artifact.record.labels
    task, logits = artifact.record.task, predictions.logits
    loss = task.losses(logits, predictions.label)
    wrong = np.flatnonzero(~task.right(logits, predictions.label))
    worst = wrong[np.argsort(-loss[wrong], kind="stable")][:count]
    examples = corpus.split(split)
    texts = dict(zip(examples.row_id, examples.text, strict=True))
    predicted = task.decode(logits[worst])
    row_ids = [predictions.row_id[position] for position in worst]
    columns = (
        row_ids,
        [texts[row_id] for row_id in row_ids],
        task.names(predictions.label[worst], labels),
        task.names(predicted, labels),
        # The loss of a label is the negative logarithm of its probability.
        np.exp(-task.losses(logits[worst], predicted)).tolist(),
        loss[worst].tolist(),
    )
    rows = [list(row) for row in zip(*columns, strict=True)]
    return Sheet(["row", "text", "true", "predicted", "probability of predicted", "loss"], rows)
