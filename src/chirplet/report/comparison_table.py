"""A comparison as rows of text: for the terminal, Markdown, and every figure as CSV."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO
from typing import Any

from rich.table import Table

from chirplet.artifact import COSTS, Ancestor
from chirplet.data.corpus import SPLITS
from chirplet.report.comparison import Advice, Comparison, Drop, Row

SCORES = ("accuracy", *(f"{score}_{mean}" for mean in ("macro", "weighted") for score in ("f1", "precision", "recall")))


@dataclass(frozen=True)
class Column:
    """One column of what people read: `value` sorts it (a text where it is one), `shown` is how it reads."""

    heading: str
    value: Callable[[Row], float | str | None]
    shown: Callable[[Row], str]
    meaning: str


def columns(comparison: Comparison) -> list[Column]:
    """What people are shown, in order; columns that no row has anything for are left out."""
    split, base = comparison.split, comparison.base

    def figure(heading: str, name: str, form: str, meaning: str, unit: float = 1.0) -> Column:
        return Column(heading, lambda row: row.figures.get(name), lambda row: _spread(row, name, form, unit), meaning)

    def drop(heading: str, of: Callable[[Row], Drop | None], meaning: str) -> Column:
        return Column(heading, lambda row: _of(of(row)), lambda row: _interval(of(row)), meaning)

    def times(heading: str, name: str, inverted: bool, meaning: str) -> Column:
        def value(row: Row) -> float | None:
            if name not in row.figures or name not in base.figures:
                return None
            ratio = row.figures[name] / base.figures[name]
            return 1 / ratio if inverted else ratio

        return Column(heading, value, lambda row: _formed(value(row), "{:.2f}"), meaning)

    several = any(len(row.candidates) > 1 for row in comparison.rows)
    found = [
        Column("run", lambda row: row.name, lambda row: row.name, "the folder that tells it from the others"),
        Column("how", how, how, "stage and method"),
        Column("model", model, model, "the base model"),
        figure("accuracy", f"{split}/accuracy", "{:.4f}", f"on {split}"),
        figure("F1", f"{split}/f1_macro", "{:.4f}", f"macro, on {split}"),
        drop(f"drop from {comparison.baseline}", lambda row: row.from_baseline, "accuracy, points, 95% interval"),
        drop("drop from parent", lambda row: row.from_parent, "accuracy, points, 95% interval"),
        Column("gain over control", lambda row: row.control.get("gain"), _gain, "of a student, points, 95% interval"),
        figure("ECE", f"{split}/calibration_error", "{:.3f}", f"expected calibration error on {split}"),
        figure("weights (M)", "cost/params_packed", "{:.2f}", "million numbers stored, of any width", 1e6),
        figure("MB", "cost/mb", "{:.1f}", "million bytes on disk"),
        times("times smaller", "cost/mb", True, f"bytes of {comparison.baseline} over its own"),
        figure("ms", "cost/latency_ms", "{:.2f}", "one tweet, median"),
        figure("tweets/s", "cost/tweets_per_s", "{:,.0f}", "batches of 32 in length order"),
        times("times faster", "cost/tweets_per_s", False, f"tweets/s over those of {comparison.baseline}"),
    ]
    if several:
        found.insert(3, Column("seeds", lambda row: len(row.seeds), lambda row: str(len(row.seeds)), "runs"))
    return [column for column in found if any(column.shown(row) for row in comparison.rows)]


def how(row: Row) -> str:
    """Stage and method."""
    return f"{row.record.stage} {row.record.method}"


def model(row: Row) -> str:
    """The base model, and whether its weights were pretrained."""
    base: Ancestor = row.record.lineage[0]
    return base.name if row.record.pretrained else f"{base.name} (NOT PRETRAINED)"


def comparison_table(comparison: Comparison) -> Table:
    """For the terminal."""
    record = comparison.record
    count = len(comparison.rows[0].candidates[0].predictions.label)
    table = Table(title=f"{record.data.source}: {count:,} {comparison.split} tweets", title_justify="left")
    shown = [column for column in columns(comparison) if column.heading not in _NOT_ON_TERMINAL]
    for column in shown:
        table.add_column(column.heading, justify="left" if column.heading in TEXTS else "right", overflow="fold")
    for row in comparison.rows:
        table.add_row(*(column.shown(row) for column in shown))
    return table


TEXTS = ("run", "how", "model")
_NOT_ON_TERMINAL = ("model", "ECE", "weights (M)", "drop from parent")
"""A terminal is narrow; Markdown and the page have them."""


def advice_line(comparison: Comparison, advice: Advice) -> str:
    """What to take, in a line."""
    points, base, row = f"{100 * advice.acceptable:g}", comparison.base, advice.row
    if row is base:
        return f"advice    none within {points} points of {base.name} on {advice.split} is faster than it"
    score = f"{comparison.split}/accuracy"
    return (
        f"advice    {row.name}: the fastest within {points} points of {base.name} on {advice.split}; "
        f"{advice.times_tweets_per_s:.1f} times its tweets/s, {advice.times_smaller:.1f} times smaller, "
        f"{comparison.split} accuracy {row.figures[score]:.4f} against {base.figures[score]:.4f}"
    )


def markdown(comparison: Comparison) -> str:
    """A table as GitHub shows it."""
    shown = columns(comparison)
    lines = [
        _line([column.heading for column in shown]),
        _line(["---" if column.heading in TEXTS else "---:" for column in shown]),
        *(_line([column.shown(row) for column in shown]) for row in comparison.rows),
    ]
    return "\n".join(lines) + "\n"


def as_csv(comparison: Comparison) -> str:
    """Every figure, one row a line; `_sd` columns are there where seeds were folded."""
    records = [_flat(row) for row in comparison.rows]
    names = list(dict.fromkeys(name for record in records for name in record))
    target = StringIO()
    writer = csv.DictWriter(target, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return target.getvalue()


def _flat(row: Row) -> dict[str, Any]:
    record = row.record
    flat: dict[str, Any] = {
        "run": row.name,
        "model": record.lineage[0].name,
        "stage": record.stage,
        "method": record.method,
        "id": record.id[:12],
        "parent": "" if record.parent is None else record.parent[:12],
        "seed": " ".join(map(str, row.seeds)),
        "runs": len(row.candidates),
        "pretrained": record.pretrained,
        "runtime": record.cost.get("runtime", ""),
        "threads": record.cost.get("threads", ""),
    }
    for name in [f"cost/{cost}" for cost in COSTS] + [f"{split}/{score}" for split in SPLITS for score in SCORES]:
        flat[name] = row.figures.get(name, "")
        if row.spread:
            flat[f"{name}_sd"] = row.spread.get(name, "")
    for title, drop in (("parent", row.from_parent), ("baseline", row.from_baseline)):
        flat[f"drop_from_{title}"] = "" if drop is None else drop.value
        for part in ("low", "high", "mcnemar_p"):
            value = None if drop is None else getattr(drop, part)
            flat[f"drop_from_{title}_{part}"] = "" if value is None else value
    for part in ("accuracy", "gain", "low", "high", "mcnemar_p"):
        flat[f"control_{part}"] = row.control.get(part, "")
    return flat


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _of(drop: Drop | None) -> float | None:
    return None if drop is None else drop.value


def _interval(drop: Drop | None) -> str:
    """In points, since a reader compares it with accuracies in per cent."""
    if drop is None:
        return ""
    if drop.value == drop.low == drop.high == 0.0:
        return "0"
    return f"{100 * drop.value:.2f} ({100 * drop.low:.2f} to {100 * drop.high:.2f})"


def _gain(row: Row) -> str:
    control = row.control
    if not control:
        return ""
    sure = f" ({100 * control['low']:.2f} to {100 * control['high']:.2f})" if "low" in control else ""
    return f"{100 * control['gain']:.2f}{sure}"


def _spread(row: Row, name: str, form: str, unit: float) -> str:
    if name not in row.figures:
        return ""
    mean = form.format(row.figures[name] / unit)
    return f"{mean} ± {form.format(row.spread[name] / unit)}" if name in row.spread else mean


def _formed(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)
