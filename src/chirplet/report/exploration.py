"""Show an exploration: tables for the terminal and an HTML page."""

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from chirplet.data.base import DataReport, Split
from chirplet.data.preparation.exploration import Exploration, Lengths
from chirplet.report import plot
from chirplet.report.page import render_page
from chirplet.report.table import count_table
from chirplet.system.fitted_table import FittedTable

LENGTH_COLUMNS = ("mean", "p5", "p50", "p95", "p99", "longest")
BINS = 40
FINDINGS = {
    "blank": "blank",
    "duplicate": "duplicate, beyond the first",
    "conflict": "same text, several labels",
    "conflict_texts": "different texts among these",
    "leak_val": "train text also in val",
    "leak_test": "train text also in test",
    "rare": "label with too few texts",
}
"""What the keys of `DataReport.found` and `dropped` mean."""
REPAIRS = {
    "encoding": "a wrong encoding, all kinds",
    "bytes": "bytes of another encoding",
    "utf8": "UTF-8 read as latin-1",
    "mojibake": "mojibake, control characters",
    "line_break": "line breaks",
    "html": "HTML entities",
}
"""What the keys of `DataReport.repaired` mean."""
EXAMPLES_SHOWN = 3
TOP_SHOWN = 10
"""Rows of a table on the terminal; the page shows all."""


def tables(seen: Exploration) -> list[FittedTable]:
    """The tables for the terminal; the page has these and the figures."""
    return [
        _class_table(seen),
        _length_table("Characters per text", LENGTH_COLUMNS, _characters(seen)),
        _length_table("Tokens per text", (*LENGTH_COLUMNS, f"cut at {seen.max_length}", "unknown"), _tokens(seen)),
        _finding_table(seen.report),
        count_table("Repaired cells", "repair", _repairs(seen.report)),
        count_table("Most frequent hashtags (texts)", "hashtag", dict(seen.hashtags[:TOP_SHOWN])),
        count_table("Most frequent mentions (texts)", "mention", dict(seen.mentions[:TOP_SHOWN])),
    ]


def page(seen: Exploration, model: str, cleaning: str) -> str:
    """Render a self-contained HTML page: every table, four figures and some texts.

    Args:
        seen: what to show; all its text is escaped.
        model: name of the model whose tokenizer counted the tokens.
        cleaning: cleaning preset applied before the tokens were counted.
    """
    return render_page(
        "explore.html.j2",
        seen=seen,
        model=model,
        cleaning=cleaning,
        classes=_class_rows(seen),
        findings=_findings(seen.report),
        repairs=_repairs(seen.report),
        length_columns=LENGTH_COLUMNS,
        characters=_characters(seen),
        tokens=_tokens(seen),
        span=None if seen.days is None else f"{seen.days.days[0]} to {seen.days.days[-1]}",
        dated=0 if seen.days is None else sum(int(counts.sum()) for counts in seen.days.counts.values()),
        # Markup: matplotlib has escaped the labels in its SVG.
        figures={name: Markup(svg) for name, svg in _figures(seen).items()},
    )


def _figures(seen: Exploration) -> dict[str, str]:
    shares: dict[str, list[float]] = {split: (counts / counts.sum()).tolist() for split, counts in seen.classes.items()}
    figures = {
        "classes": plot.share_bars(
            seen.labels, shares, "share of the split", f"Bars: {_in_words(seen.labels, shares)}."
        ),
        "characters": _length_figure(seen.characters, "characters", None),
        "tokens": _length_figure(seen.tokens, "tokens", seen.max_length),
    }
    if seen.days is not None:
        days, counts = seen.days.days, seen.days.counts
        total = sum(counts.values())
        alt = (
            f"Lines: texts per day from {days[0]} to {days[-1]}; "
            f"most on {days[int(np.argmax(total))]}, {int(np.max(total)):,} texts."
        )
        series: dict[str, list[int]] = {split: values.tolist() for split, values in counts.items()}
        figures["days"] = plot.time_series(days, series, "texts per day", alt)
    return figures


def _length_figure(lengths: Mapping[Split, Lengths], unit: str, cut: int | None) -> str:
    pooled = np.concatenate([split.values for split in lengths.values()])
    # One text of 10 MB would squeeze all others into the first bin: the last bin takes the longest 0.5%.
    limit = max(float(np.quantile(pooled, 0.995)), 1.25 * (cut or 0))
    step = max(1, int(np.ceil(limit / BINS)))
    edges = np.arange(0, limit + step, step, dtype=np.float64)
    series: dict[str, NDArray[np.float64]] = {
        split: histogram_shares(each.values, edges) for split, each in lengths.items()
    }
    medians = ", ".join(f"{split} {each.quantiles[1]:,.0f}" for split, each in lengths.items())
    longest = max(each.longest for each in lengths.values())
    alt = f"Histogram of {unit} per text. Medians: {medians}. The longest text has {longest:,}."
    mark = None if cut is None else (float(cut), f"max_length {cut}")
    return plot.share_histogram(edges, series, f"{unit} per text", "share of the split", alt, mark)


def histogram_shares(values: NDArray[np.int64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of values in each bin, shape (bins,); the last bin also counts longer values."""
    counts, _ = np.histogram(np.minimum(values, edges[-1]), edges)
    return counts / len(values)


def _in_words(labels: tuple[str, ...], shares: Mapping[str, list[float]]) -> str:
    return "; ".join(
        f"{split}: " + ", ".join(f"{label} {share:.0%}" for label, share in zip(labels, values, strict=True))
        for split, values in shares.items()
    )


def _class_rows(seen: Exploration) -> list[tuple[str, list[tuple[int, float]]]]:
    """For each label: its name and, per split, the number of texts and their share."""
    return [
        (label, [(int(counts[i]), float(counts[i] / counts.sum())) for counts in seen.classes.values()])
        for i, label in enumerate(seen.labels)
    ]


def _characters(seen: Exploration) -> dict[Split, list[str]]:
    return {split: _length_row(lengths) for split, lengths in seen.characters.items()}


def _tokens(seen: Exploration) -> dict[Split, list[str]]:
    """Lengths, the share of texts that are truncated, and the share of tokens that are unknown."""
    return {
        split: [*_length_row(lengths), f"{lengths.share_above(seen.max_length):.2%}", f"{seen.unknown[split]:.2%}"]
        for split, lengths in seen.tokens.items()
    }


def _length_row(lengths: Lengths) -> list[str]:
    return [f"{lengths.mean:,.1f}", *(f"{value:,.0f}" for value in lengths.quantiles), f"{lengths.longest:,}"]


def _findings(report: DataReport) -> list[tuple[str, int, int, str]]:
    """For each finding: its name, the texts affected, the texts dropped from train, and the first positions."""
    kinds = dict.fromkeys([*report.found, *report.dropped])
    return [
        (
            FINDINGS.get(kind, kind),
            report.found.get(kind, 0),
            report.dropped.get(kind, 0),
            ", ".join(report.examples.get(kind, [])[:EXAMPLES_SHOWN]),
        )
        for kind in kinds
    ]


def _repairs(report: DataReport) -> dict[str, int]:
    return {REPAIRS.get(kind, kind): count for kind, count in report.repaired.items()}


def _class_table(seen: Exploration) -> FittedTable:
    table = _table(f"Classes of {seen.name}", "label", *seen.classes)
    for label, cells in _class_rows(seen):
        table.add_row(label, *(f"{count:,} ({share:.1%})" for count, share in cells))
    table.add_section()
    table.add_row("all", *(f"{size:,}" for size in seen.sizes.values()))
    return table


def _length_table(title: str, columns: Sequence[str], rows: Mapping[Split, list[str]]) -> FittedTable:
    table = _table(title, "split", *columns)
    for split, cells in rows.items():
        table.add_row(split, *cells)
    return table


def _finding_table(report: DataReport) -> FittedTable:
    table = _table("Findings (texts)", "finding", "texts", "dropped from train", "examples", optional=["examples"])
    for kind, count, dropped, examples in _findings(report):
        table.add_row(kind, f"{count:,}", f"{dropped:,}", examples)
    return table


def _table(title: str, first: str, *columns: str, optional: Sequence[str] = ()) -> FittedTable:
    table = FittedTable(title, optional, "explore.html")
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right")
    return table
