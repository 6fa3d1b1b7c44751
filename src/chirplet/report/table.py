"""Terminal tables made from records."""

from collections.abc import Mapping
from typing import Any

from chirplet.artifact.artifact import RECORD, Record, split_order
from chirplet.system.fitted_table import FittedTable

METRICS = {
    "accuracy": "accuracy",
    "f1_macro": "F1, macro",
    "f1_weighted": "F1, weighted",
    "precision_macro": "precision, macro",
    "precision_weighted": "precision, weighted",
    "recall_macro": "recall, macro",
    "recall_weighted": "recall, weighted",
    "loss": "loss (nats)",
    "calibration_error": "calibration error",
    "average_precision": "average precision",
    "mcc": "Matthews correlation",
}
"""The metrics of tables and cards in the order of their rows: key in the record to name."""

PER_CLASS = ("f1", "precision", "recall")


def metrics_table(record: Record) -> FittedTable:
    """Number of texts and metrics (rows) of every evaluated split (columns)."""
    splits = split_order(record.metrics)
    table = FittedTable(_title(record))
    table.add_column("metric")
    for split in splits:
        table.add_column(split, justify="right")
    table.add_row("texts", *(f"{record.metrics[split]['n']:,}" for split in splits), end_section=True)
    for name, values in metric_rows(record).items():
        table.add_row(name, *values)
    return table


def metric_rows(record: Record) -> dict[str, list[str]]:
    """The formatted values of each metric by its name, one for each evaluated split; none that the record lacks."""
    splits = [record.metrics[split] for split in split_order(record.metrics)]
    return {
        name: [f"{metrics[key]:.4f}" for metrics in splits]
        for key, name in METRICS.items()
        if all(key in metrics for metrics in splits)
    }


def per_class_table(record: Record, split: str) -> FittedTable:
    """F1, precision, recall and number of texts of each class (rows) on one split."""
    title = f"{_title(record)}: {split}"
    table = FittedTable(title)
    table.add_column("label")
    for heading in ("texts", *PER_CLASS):
        table.add_column(heading, justify="right")
    for label in record.labels:
        scores = record.metrics[split]["per_class"][label]
        table.add_row(label, f"{scores['support']:,}", *(f"{scores[name]:.4f}" for name in PER_CLASS))
    return table


def baseline_table(record: Record) -> FittedTable:
    """Accuracy of a distilled student, its teachers and its label-only baseline, with the difference's interval.

    A teacher trained on other texts or splits has no accuracy here.
    """
    baseline: dict[str, Any] = record.training["label_only_baseline"]
    splits = split_order(record.metrics)
    level = baseline[splits[0]]["difference"]["level"] if splits else 0.0
    teachers = record.training["teachers"]
    names = [f"teacher {i}" for i in range(1, len(teachers) + 1)] if len(teachers) > 1 else ["teacher"]
    interval = f"{level:.0%} interval"
    title = f"{_title(record)}: compared with the same student on labels alone"
    table = FittedTable(title, [interval, "McNemar's p", *names], RECORD)
    for heading in ("accuracy", *names, "student", "label-only", "difference", interval, "McNemar's p"):
        table.add_column(heading, justify="left" if heading == "accuracy" else "right")
    for split in splits:
        difference = baseline[split]["difference"]
        known = [teacher["accuracy"].get(split) for teacher in teachers.values()]
        table.add_row(
            split,
            *("–" if accuracy is None else f"{accuracy:.4f}" for accuracy in known),
            f"{record.metrics[split]['accuracy']:.4f}",
            f"{baseline[split]['accuracy']:.4f}",
            f"{difference['value']:+.4f}",
            f"{difference['low']:+.4f} to {difference['high']:+.4f}",
            f"{difference['mcnemar_p']:.2g}",
        )
    return table


def count_table(title: str, what: str, counts: Mapping[str, int]) -> FittedTable:
    """One row per name, with its count."""
    table = FittedTable(title)
    table.add_column(what)
    table.add_column("count", justify="right")
    for name, count in counts.items():
        table.add_row(name, f"{count:,}")
    return table


def _title(record: Record) -> str:
    """Stage, method and data; with a warning if the weights started random."""
    warning = "" if record.pretrained else " (NOT PRETRAINED: started from random weights)"
    return f"{record.stage} ({record.method}) on {record.data.source}{warning}"
