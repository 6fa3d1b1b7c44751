"""A comparison as a table: for the terminal and in Markdown."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from chirplet.artifact.artifact import Ancestor
from chirplet.report.comparison import Advice, Comparison, Drop, Row
from chirplet.report.comparison_csv import flat
from chirplet.system import escaping
from chirplet.system.fitted_table import FittedTable


@dataclass(frozen=True)
class Column:
    """One column of the table.

    Attributes:
        heading: its title.
        value: the value of a row, by which it is sorted.
        shown: the formatted value of a row.
        meaning: what it shows, with its unit.
        narrow: whether the table on the terminal has it too.
    """

    heading: str
    value: Callable[[Row], float | str | None]
    shown: Callable[[Row], str]
    meaning: str
    narrow: bool = True


def columns(comparison: Comparison) -> list[Column]:
    """The columns in order, without those that are empty in every row and without a base model that all rows share."""
    split, baseline = comparison.split, comparison.baseline
    base = common_model(comparison)
    all_pretrained = all(row.record.pretrained for row in comparison.rows)
    interval = "accuracy, points, 95% interval over texts"
    every = [
        Column("run", lambda row: row.name, lambda row: row.name, "the end of its path that no other run has"),
        Column("how", how, how, "stage and method"),
        Column("model", model, model, "the base model", narrow=not all_pretrained),
        Column("seeds", lambda row: len(row.seeds), _seeds, "runs that differ only in their seed: mean ± sd"),
        _figure("accuracy", f"{split}/accuracy", "{:.4f}", f"on {split}"),
        *_drop(f"drop from {baseline}", lambda row: row.from_baseline, interval, narrow=True),
        _figure("MB", "cost/mb", "{:.1f}", "million bytes on disk"),
        _times("smaller", "cost/mb", comparison, f"bytes of {baseline} divided by its bytes"),
        *_speeds(comparison),
        _figure("ms, GPU", "cost/gpu_latency_ms", "{:.2f}", "one text on a GPU, median"),
        _figure("texts/s, GPU", "cost/gpu_texts_per_s", "{:,.0f}", "batches of 32 on a GPU, in length order"),
        _figure("F1", f"{split}/f1_macro", "{:.4f}", f"macro, on {split}"),
        Column(
            "gain over label-only", lambda row: row.label_only_baseline.get("gain"), _gain, f"of a student, {interval}"
        ),
        *_drop("drop from its parent", lambda row: row.from_parent, interval, narrow=False),
        _figure("ECE", f"{split}/calibration_error", "{:.3f}", f"expected calibration error on {split}", narrow=False),
        *_sizes(),
    ]
    relevant = [column for column in every if column.heading != "model" or base is None]
    return [column for column in relevant if any(column.shown(row) for row in comparison.rows)]


def common_model(comparison: Comparison) -> str | None:
    """The pretrained model that all rows were made from; None if there are several."""
    bases = {model(row) for row in comparison.rows}
    return bases.pop() if len(bases) == 1 and all(row.record.pretrained for row in comparison.rows) else None


def _speeds(comparison: Comparison) -> list[Column]:
    """Latency and throughput, and the speedup if all were measured on one machine."""
    when = "" if comparison.interleaved else ", measured when each artifact was written"
    speeds = [
        _figure("ms", "cost/latency_ms", "{:.2f}", f"one text, median{when}"),
        _figure("texts/s", "cost/texts_per_s", "{:,.0f}", f"batches of 32 in length order{when}"),
    ]
    speeds = [replace(column, shown=_marked(column, comparison)) for column in speeds]
    if len(comparison.machines) == 1:
        hint = "" if comparison.interleaved else "; stage.measure=true measures all interleaved, which is more reliable"
        meaning = f"texts/s divided by those of {comparison.baseline}{hint}"
        speeds.append(_times("faster", "cost/texts_per_s", comparison, meaning))
    return speeds


def _marked(column: Column, comparison: Comparison) -> Callable[[Row], str]:
    """Format a speed, with `ELSEWHERE` appended if it was measured on another machine than the baseline's."""

    def shown(row: Row) -> str:
        text = column.shown(row)
        return f"{text} {ELSEWHERE}" if text and comparison.elsewhere(row) else text

    return shown


ELSEWHERE = "*"


def _sizes() -> list[Column]:
    """Columns for the page only."""
    return [
        _figure("MB, compressed", "cost/mb_compressed", "{:.1f}", "million bytes, by zstd", narrow=False),
        _figure(
            "weights (M)", "cost/params_packed", "{:.2f}", "million stored numbers of any width", 1e6, narrow=False
        ),
        _figure(
            "non-zero (M)",
            "cost/params_nonzero",
            "{:.2f}",
            "million stored numbers that are not zero",
            1e6,
            narrow=False,
        ),
        _figure("ms, p95", "cost/latency_ms_p95", "{:.2f}", "one text, 95th percentile", narrow=False),
    ]


def _figure(heading: str, name: str, form: str, meaning: str, unit: float = 1.0, narrow: bool = True) -> Column:
    return Column(
        heading, lambda row: row.figures.get(name), lambda row: _spread(row, name, form, unit), meaning, narrow
    )


def _drop(heading: str, of: Callable[[Row], Drop | None], meaning: str, narrow: bool) -> list[Column]:
    """An accuracy drop and its McNemar p-value."""

    def p(row: Row) -> float | None:
        drop = of(row)
        return None if drop is None or drop.low == drop.high else drop.mcnemar_p

    return [
        Column(heading, lambda row: _of(of(row)), lambda row: drop_text(of(row)), meaning, narrow),
        Column("p", p, lambda row: _formed(p(row), "{:.2g}"), f"McNemar's test of the {heading}", narrow),
    ]


def _times(heading: str, name: str, comparison: Comparison, meaning: str) -> Column:
    """How many times smaller or faster than the baseline."""
    base = comparison.base.figures.get(name)

    def value(row: Row) -> float | None:
        if base is None or name not in row.figures:
            return None
        return base / row.figures[name] if name == "cost/mb" else row.figures[name] / base

    return Column(heading, value, lambda row: _formed(value(row), "{:.2f}×"), meaning)


def _seeds(row: Row) -> str:
    return str(len(row.seeds)) if len(row.seeds) > 1 else ""


def how(row: Row) -> str:
    """Stage and method."""
    return f"{row.record.stage} {row.record.method}"


def model(row: Row) -> str:
    """The base model, and whether its weights were pretrained."""
    base: Ancestor = row.record.lineage[0]
    return base.name if row.record.pretrained else f"{base.name} (NOT PRETRAINED)"


def comparison_table(comparison: Comparison) -> FittedTable:
    """The table for the terminal."""
    count = len(comparison.rows[0].candidates[0].predictions.label)
    shown = [column for column in columns(comparison) if column.narrow]
    headings = [column.heading for column in shown if column.heading not in ALWAYS]
    first = [f"drop from {comparison.baseline}", "MB", "texts/s", "how", "ms", "p"]
    optional = sorted(headings, key=lambda heading: first.index(heading) if heading in first else len(first))
    table = FittedTable(f"{comparison.data}: {count:,} {comparison.split} texts", optional, "comparison.csv")
    for column in shown:
        table.add_column(column.heading, justify="left" if column.heading in TEXTS else "right")
    for row in comparison.rows:
        table.add_row(*(column.shown(row) for column in shown))
    return table


TEXTS = ("run", "how", "model")
ALWAYS = ("run", "model", "accuracy")
"""Columns that the terminal shows whatever its width; a model is not pretrained if it is shown there."""


def notes(comparison: Comparison) -> list[str]:
    """How the speeds in the table were measured."""
    if len(comparison.machines) > 1:
        machines = "; ".join(comparison.machines)
        mark = f"{ELSEWHERE} marks another machine than that of {comparison.baseline}"
        return [f"note      speeds were measured on different machines and cannot be compared ({mark}): {machines}"]
    if comparison.interleaved:
        return []
    if comparison.machines:
        return [
            "note      speeds were measured when each artifact was written; "
            "stage.measure=true measures all again, interleaved"
        ]
    return ["note      no speeds were recorded; stage.measure=true measures them, interleaved"]


def advice_line(comparison: Comparison, advice: Advice) -> str:
    """The advice in one line."""
    points, base, row = f"{100 * advice.acceptable:.1f}", comparison.base, advice.row
    if row is base:
        return f"advice    no model within {points} points of {base.name} on val is faster"
    return (
        f"advice    {row.name}: the fastest within {points} points of {base.name} on val; "
        f"{advice.times_texts_per_s:.1f} times its texts/s, {advice.times_smaller:.1f} times smaller; "
        f"drop on {comparison.split} {drop_text(row.from_baseline)} points"
    )


def markdown(comparisons: Sequence[Comparison]) -> str:
    """`section` of each data set, below its name if there are several."""
    if len(comparisons) == 1:
        return section(comparisons[0])
    return "\n".join(f"## {escaping.markdown(one.data)}\n\n{section(one)}" for one in comparisons)


def section(comparison: Comparison) -> str:
    """Two Markdown tables: the one on the page, and every figure with a column for each run."""
    shown = columns(comparison)
    records = [flat(row, comparison) for row in comparison.rows]
    names = list(dict.fromkeys(name for record in records for name in record if name != "run"))
    lines = [
        _line([column.heading for column in shown]),
        _line(["---" if column.heading in TEXTS else "---:" for column in shown]),
        *(_line([column.shown(row) for column in shown]) for row in comparison.rows),
        "",
        _line(["figure", *(row.name for row in comparison.rows)]),
        _line(["---", *("---:" for _ in comparison.rows)]),
        *(_line([name, *(_plain(record.get(name, "")) for record in records)]) for name in names),
    ]
    return "\n".join(lines) + "\n"


def _line(cells: list[str]) -> str:
    """One row of a Markdown table, with its cells escaped."""
    return f"| {' | '.join(map(escaping.markdown, cells))} |"


def _plain(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _of(drop: Drop | None) -> float | None:
    return None if drop is None else drop.value


def drop_text(drop: Drop | None) -> str:
    """A drop and its interval in percentage points."""
    if drop is None:
        return ""
    if drop.value == drop.low == drop.high == 0.0:
        return "0"
    return f"{100 * drop.value:.2f} ({100 * drop.low:.2f} to {100 * drop.high:.2f})"


def _gain(row: Row) -> str:
    baseline = row.label_only_baseline
    if not baseline:
        return ""
    interval = f" ({100 * baseline['low']:.2f} to {100 * baseline['high']:.2f})" if "low" in baseline else ""
    return f"{100 * baseline['gain']:.2f}{interval}"


def _spread(row: Row, name: str, form: str, unit: float) -> str:
    if name not in row.figures:
        return ""
    mean = form.format(row.figures[name] / unit)
    return f"{mean} ± {form.format(row.spread[name] / unit)}" if name in row.spread else mean


def _formed(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)
