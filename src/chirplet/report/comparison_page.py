"""Comparisons as a self-contained HTML page, `report.html`."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from chirplet.report import plot
from chirplet.report.candidates import Candidate
from chirplet.report.comparison import Advice, Comparison, Row, front
from chirplet.report.comparison_table import TEXTS, columns, common_model, drop_text, how
from chirplet.report.lineage import teacher_ids
from chirplet.report.page import figure_page, render_page
from chirplet.report.slices import most_divided, slices
from chirplet.system.command_line import command

SCRIPT = files("chirplet.report").joinpath("sort.js").read_text(encoding="utf-8")
COSTS = (
    ("cost/mb", "million bytes on disk", False),
    ("cost/latency_ms", "milliseconds for one text (median)", False),
    ("cost/texts_per_s", "texts a second", True),
)
"""Costs against which accuracy is drawn: key, name, and whether more is better."""

KINDS = {"finetune": "fine-tuned", "distill": "distilled", "prune": "pruned", "quantize": "quantized"}
"""Stages in the order of their colours."""
OTHER = "other"
"""Stages of later versions or of plugins."""

DETAILED = 8
"""Rows with confusion matrices and accuracy on parts: the baseline, the Pareto front, then the others."""
NAMED = 24
"""The most rows for which a figure names every point; with more it names the Pareto front only."""
DIVIDED = 12
"""Shown texts on which the models disagree."""
BINS = 10
"""Confidence bins of the calibration figure."""


@dataclass(frozen=True)
class Texts:
    """The texts of the compared split in the order of the predictions, and their numbers of tokens, shape (n,)."""

    texts: Sequence[str]
    tokens: NDArray[np.int64]


@dataclass(frozen=True)
class Section:
    """The part of the page about one data set.

    Attributes:
        comparison: what to show.
        advice: shown on top, if any.
        texts: without them the section has no single texts and no accuracy on parts of the split.
    """

    comparison: Comparison
    advice: Advice | None
    texts: Texts | None


def page(sections: Sequence[Section]) -> str:
    """Render the page."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    shown = [_shown(section.comparison, section.advice, section.texts) for section in sections]
    models = sum(len(section.comparison.rows) for section in sections)
    return render_page(
        "comparison.html.j2",
        title=shown[0]["title"] if len(shown) == 1 else f"{len(shown)} data sets: {models} models compared",
        sections=shown,
        texts_columns=TEXTS,
        script=Markup(SCRIPT),
        digest=digest,
    )


def _shown(comparison: Comparison, advice: Advice | None, texts: Texts | None) -> dict[str, Any]:
    """What the template shows of one data set."""
    detailed, models = _detailed(comparison), len(comparison.rows)
    return {
        "title": f"{comparison.data}: {'one model' if models == 1 else f'{models} models compared'}",
        "comparison": comparison,
        "record": comparison.record,
        "count": len(comparison.base.candidates[0].predictions.label),
        "advice": advice,
        "columns": columns(comparison),
        "base_model": common_model(comparison),
        "advised_drop": "" if advice is None else drop_text(advice.row.from_baseline),
        "costs": _cost_figures(comparison).values(),
        "drops": _drop_figure(comparison),
        "calibration": _calibration_figure(
            sorted(detailed, key=lambda row: row is not comparison.base), comparison.split
        ),
        "detailed": detailed,
        "confusions": [(row, _confusion(row)) for row in detailed],
        "by_class": _by_class(detailed, comparison.split),
        "parts": None if texts is None else _parts(detailed, texts),
        "divided": None if texts is None else _divided(detailed, texts, comparison.record.labels),
        "lineages": [(row, _lineage(row, comparison), _command(row)) for row in comparison.rows],
    }


def front_pages(comparison: Comparison) -> dict[str, str]:
    """One page per known cost with accuracy against it: `pareto/COST` to HTML."""
    return {
        f"pareto/{cost.partition('/')[2]}": figure_page(svg, caption)
        for cost, (svg, caption) in _cost_figures(comparison).items()
    }


def _comparable(comparison: Comparison) -> list[tuple[str, str, bool]]:
    """The `COSTS` that can be compared; without speeds if they were measured on different machines."""
    return [one for one in COSTS if one[0] == "cost/mb" or len(comparison.machines) < 2]


def _detailed(comparison: Comparison) -> list[Row]:
    fronts = [
        row
        for cost, _, more in _comparable(comparison)
        for row in front(comparison.rows, cost, f"{comparison.split}/accuracy", more_is_better=more)
    ]
    chosen: list[Row] = []
    for row in [comparison.base, *fronts, *comparison.rows]:
        if row not in chosen:
            chosen.append(row)
    few = [row.name for row in chosen[:DETAILED]]
    return [row for row in comparison.rows if row.name in few]


def _cost_figures(comparison: Comparison) -> dict[str, tuple[Markup, str]]:
    """By cost: the figure and its caption, if the cost of two rows is known."""
    score = f"{comparison.split}/accuracy"
    figures = {}
    for cost, name, more in _comparable(comparison):
        known = [row for row in comparison.rows if cost in row.figures]
        if len(known) < 2:
            continue
        best = front(known, cost, score, more_is_better=more)
        named = {row.name for row in (known if len(known) <= NAMED else best)}
        groups: dict[str, list[plot.Point]] = {kind: [] for kind in (*KINDS.values(), OTHER)}
        for row in known:
            point = plot.Point(row.name, row.figures[cost], row.figures[score], row.name in named)
            groups[KINDS.get(row.record.stage, OTHER)].append(point)
        groups = {kind: points for kind, points in groups.items() if points}
        corners = sorted((row.figures[cost], row.figures[score]) for row in best)
        values = "; ".join(f"{row.name} {row.figures[cost]:,.4g}, {row.figures[score]:.1%}" for row in known)
        x_label, y_label = f"{name}, logarithmic", f"accuracy on {comparison.split}"
        svg = plot.scatter(groups, corners, x_label, y_label, f"Points: accuracy against {name}. {values}.")
        figures[cost] = Markup(svg), f"Accuracy against {name}; the dashed line is the Pareto front."
    return figures


def _drop_figure(comparison: Comparison) -> Markup | None:
    others = [row for row in comparison.rows if row is not comparison.base]
    if not others:
        return None
    values = [_points(row) for row in others]
    described = "; ".join(
        f"{row.name} {value:.2f} ({low:.2f} to {high:.2f})"
        for row, (value, low, high) in zip(others, values, strict=True)
    )
    alt = f"Intervals: accuracy drop from {comparison.baseline}, in points. {described}."
    label = f"accuracy drop on {comparison.split}, points"
    return Markup(plot.intervals([row.name for row in others], values, label, alt, mark=0.0))


def _points(row: Row) -> tuple[float, float, float]:
    drop = row.from_baseline
    return 100 * drop.value, 100 * drop.low, 100 * drop.high


def _calibration_figure(rows: Sequence[Row], split: str) -> Markup | None:
    """Reliability diagram of the first four `rows`, first seed only; None if there are too few texts."""
    few = rows[: len(plot.SERIES)]
    curves = {row.name: _reliability(row.candidates[0]) for row in few}
    series = {name: points for name, points in curves.items() if points}
    if not series:
        return None
    errors = "; ".join(f"{row.name} {row.figures[f'{split}/calibration_error']:.3f}" for row in few)
    alt = f"Lines: share of correct labels by confidence. Expected calibration errors: {errors}."
    return Markup(plot.share_lines(series, "probability of the predicted label", "share correct", alt))


def _reliability(candidate: Candidate) -> list[tuple[float, float]]:
    confidence = candidate.record.task.confidence(candidate.predictions.logits)
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    right = candidate.right
    filled = [bins == i for i in range(BINS) if (bins == i).sum() >= BINS]
    return [(float(confidence[mask].mean()), float(right[mask].mean())) for mask in filled]


def _confusion(row: Row) -> list[tuple[str, list[tuple[int, float]]]]:
    """For each true label: the number of texts and their share of the row per predicted label, summed over seeds."""
    labels = row.record.labels
    table = np.zeros((len(labels), len(labels)), np.int64)
    for candidate in row.candidates:
        predictions = candidate.predictions
        table += candidate.record.task.confusion(predictions.logits, predictions.label, len(labels))
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    return [
        (label, list(zip(counts, parts, strict=True)))
        for label, counts, parts in zip(labels, table.tolist(), shares.tolist(), strict=True)
    ]


def _by_class(rows: Sequence[Row], split: str) -> list[tuple[str, int, list[float]]]:
    """For each label: its number of texts, and the mean F1 of each row."""
    per_class = [[candidate.record.metrics[split]["per_class"] for candidate in row.candidates] for row in rows]
    return [
        (
            label,
            per_class[0][0][label]["support"],
            [float(np.mean([seed[label]["f1"] for seed in seeds])) for seeds in per_class],
        )
        for label in rows[0].record.labels
    ]


def _parts(rows: Sequence[Row], texts: Texts) -> list[tuple[str, list[tuple[str, int, list[float]]]]]:
    """For each kind of slice: its parts with their number of texts and each row's accuracy."""
    right = [np.mean([candidate.right for candidate in row.candidates], axis=0) for row in rows]
    return [
        (what, [(name, int(mask.sum()), [float(one[mask].mean()) for one in right]) for name, mask in parts.items()])
        for what, parts in slices(texts.texts, texts.tokens).items()
    ]


def _divided(rows: Sequence[Row], texts: Texts, labels: Sequence[str]) -> list[tuple[str, str, list[tuple[str, bool]]]]:
    """Texts on which the rows disagree: the text, its label, and each row's label and whether it is correct."""
    task, shown = rows[0].record.task, [row.candidates[0] for row in rows]
    given = [task.names(task.decode(one.predictions.logits), labels) for one in shown]
    right = [one.right for one in shown]
    true = task.names(shown[0].predictions.label, labels)
    return [
        (texts.texts[i], true[i], [(names[i], bool(mask[i])) for names, mask in zip(given, right, strict=True)])
        for i in most_divided(given, right, DIVIDED)
    ]


def _lineage(row: Row, comparison: Comparison) -> list[str]:
    """The steps from the base model to the artifact, named as in the comparison where they are part of it."""
    known = {candidate.record.id: other for other in comparison.rows for candidate in other.candidates}
    steps = []
    for ancestor in row.record.lineage:
        other = None if ancestor.artifact is None else known.get(ancestor.artifact)
        named = ancestor.name if ancestor.stage is None else f"{ancestor.stage} {(ancestor.artifact or '')[:12]}"
        steps.append(named if other is None else other.name)
    teachers = [
        next((other.name for identity, other in known.items() if identity.startswith(teacher)), teacher)
        for teacher in teacher_ids(row.record)
        if not (row.record.parent or "").startswith(teacher)
    ]
    if teachers:
        steps.append(f"distilled from {', '.join(teachers)}")
    return [*steps, f"{row.name} ({how(row)})"]


def _command(row: Row) -> str:
    """The command that made the row's first candidate; empty if the record has no overrides."""
    overrides = row.record.overrides
    return "" if overrides is None else command(*overrides)
