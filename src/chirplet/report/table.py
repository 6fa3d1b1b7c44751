"""Tables on the terminal, made from records."""

from collections.abc import Mapping

from rich.table import Table

from chirplet.artifact import Record, split_order

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
}
"""The metrics people are shown, in the order of their rows: key in the record to its name."""

PER_CLASS = ("f1", "precision", "recall")


def metrics_table(record: Record) -> Table:
    """Metrics (rows) of every split that was evaluated (columns), headed by the number of tweets."""
    splits = split_order(record.metrics)
    table = Table(title=_title(record), title_justify="left")
    table.add_column("metric")
    for split in splits:
        table.add_column(split, justify="right")
    table.add_row("tweets", *(f"{record.metrics[split]['n']:,}" for split in splits), end_section=True)
    for key, name in METRICS.items():
        table.add_row(name, *(f"{record.metrics[split][key]:.4f}" for split in splits))
    return table


def per_class_table(record: Record, split: str) -> Table:
    """F1, precision and recall of each class (rows) on one split, with the number of its tweets."""
    title = f"{_title(record)}: {split}"
    table = Table(title=title, title_justify="left")
    table.add_column("label", overflow="fold")
    for heading in ("tweets", *PER_CLASS):
        table.add_column(heading, justify="right")
    for label in record.labels:
        scores = record.metrics[split]["per_class"][label]
        table.add_row(label, f"{scores['support']:,}", *(f"{scores[name]:.4f}" for name in PER_CLASS))
    return table


def count_table(title: str, what: str, counts: Mapping[str, int]) -> Table:
    """One row a name, with its count."""
    table = Table(title=title, title_justify="left")
    table.add_column(what, overflow="fold")
    table.add_column("count", justify="right")
    for name, count in counts.items():
        table.add_row(name, f"{count:,}")
    return table


def _title(record: Record) -> str:
    """What a reader must not miss stands here: that the weights started random."""
    warning = "" if record.pretrained else " (NOT PRETRAINED: started from random weights)"
    return f"{record.stage} ({record.method}) on {record.data.source}{warning}"
