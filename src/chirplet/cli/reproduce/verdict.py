"""Whether a repeated run came to the metrics of its record."""

from typing import Any

from chirplet.artifact.artifact import Record
from chirplet.system.console import console
from chirplet.system.fitted_table import FittedTable


def print_verdict(record: Record, again: Record, name: str) -> None:
    """Print that the metrics are the same, or which are not and what may have moved them; `name` is the record's."""
    out = console()
    differing = metric_differences(record, again)
    if not differing:
        identical = f"; weights and predictions too (id {record.id[:12]})" if record.id == again.id else ""
        out.print(f"repeated  {name}: the same metrics to the last digit{identical}")
        return
    out.print(difference_table(differing, len(_figures(record.metrics))))
    out.print(f"repeated  {name}: other metrics")
    for reason in reasons(record, again):
        out.print(f"          {reason}")


def metric_differences(record: Record, again: Record) -> dict[str, tuple[Any, Any]]:
    """Every figure of the record's `metrics` that differs, by its dotted name; None where the other lacks it."""
    old, new = _figures(record.metrics), _figures(again.metrics)
    return {name: (value, new.get(name)) for name, value in old.items() if value != new.get(name)}


def difference_table(differing: dict[str, tuple[Any, Any]], total: int) -> FittedTable:
    """Those of splits as wholes one by one, to the last digit; those of classes and single cells are counted."""
    table = FittedTable(f"{len(differing)} of {total} figures differ", ["difference"])
    table.add_column("metric")
    for heading in ("record", "here", "difference"):
        table.add_column(heading, justify="right")
    for name, (old, new) in differing.items():
        if name.count(".") == 1:
            both = isinstance(old, int | float) and isinstance(new, int | float)
            cells = ["–" if value is None else repr(value) for value in (old, new)]
            table.add_row(name.replace(".", "/"), *cells, f"{new - old:+.3g}" if both else "–")
    return table


def reasons(record: Record, again: Record) -> list[str]:
    """What else than settings differs between the two, and may move the last digits."""
    pairs = {name: (record.versions.get(name), again.versions.get(name)) for name in again.versions}
    pairs["cpu"] = record.cpu.get("name"), again.cpu.get("name")
    for name in ("threads", "device", "precision"):
        pairs[name] = record.training.get(name), again.training.get(name)
    changes = [f"{name}: {old} in the record, {new} here" for name, (old, new) in pairs.items() if old != new]
    if record.config.get("deterministic") is not True:
        changes.append("deterministic: false in the record, so that the last digits may differ from run to run")
    return changes


def _figures(metrics: Any, prefix: str = "") -> dict[str, Any]:
    """Numbers by dotted name: `test.accuracy`, `test.per_class.LABEL.f1`, `test.confusion.0.1`."""
    if isinstance(metrics, dict):
        items = list(metrics.items())
    elif isinstance(metrics, list):
        items = list(enumerate(metrics))
    else:
        return {prefix.removesuffix("."): metrics}
    figures: dict[str, Any] = {}
    for key, value in items:
        figures |= _figures(value, f"{prefix}{key}.")
    return figures
