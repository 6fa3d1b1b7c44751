"""Report on a pruned model: sparsity by layer, accuracy before recovery, and other runs with the same parent."""

from collections.abc import Sequence
from itertools import compress

from markupsafe import Markup

from chirplet.artifact.artifact import Record
from chirplet.model.family import matrix_of
from chirplet.model.family.base import MatrixName
from chirplet.report import plot
from chirplet.report.page import render_page
from chirplet.system.fitted_table import FittedTable

PARTS: dict[MatrixName, str] = {
    "query": "query",
    "key": "key",
    "value": "value",
    "attention_output": "attention out",
    "intermediate": "up",
    "output": "down",
}
"""A layer's matrices and their headings in tables."""
RUN_COLUMNS = ("val", "test", "non-zero", "MB, zstd", "texts/s", "speedup over parent")
"""Headings of the values of `_run_row`."""


def tables(record: Record) -> list[FittedTable]:
    """Sparsity by module, if any weight is zero, and accuracy by sparsity without recovery, if it was measured."""
    pruning = record.training["pruning"]
    shown = []
    columns, rows = sparsity_rows(record)
    losses = pruning.get("layer_losses", [])
    if any(share for _, shares in rows for share in shares if share is not None):
        alone = ", and rise of the loss on val (nats) when only this layer is pruned" if losses else ""
        table = FittedTable(f"Share of zeros in each matrix{alone}")
        for column in columns:
            table.add_column(column, justify="left" if column == columns[0] else "right")
        for i, (name, shares) in enumerate(rows):
            loss = [f"{losses[i]:+.4f}"] if i < len(losses) else []
            table.add_row(name, *("" if share is None else f"{share:.1%}" for share in shares), *loss)
        shown.append(table)
    if pruning.get("curve"):
        table = FittedTable("One-shot pruning without recovery, on val")
        for column in ("sparsity", "accuracy", "loss (nats)"):
            table.add_column(column, justify="right")
        for point in pruning["curve"]:
            table.add_row(f"{point['sparsity']:.0%}", f"{point['accuracy']:.4f}", f"{point['loss']:.4f}")
        shown.append(table)
    return shown


def sparsity_rows(record: Record) -> tuple[list[str], list[tuple[str, list[float | None]]]]:
    """Headings, and the shares of zeros of each layer, lowest first, and of all other modules with zeros.

    Columns without a value are left out. The last heading belongs to the loss, if the record has it.
    """
    layers: dict[int, dict[MatrixName, float]] = {}
    others: dict[str, float] = {}
    for name, share in record.training["pruning"]["sparsity"].items():
        matrix = matrix_of(name)
        if matrix is not None:
            layers.setdefault(matrix[0], {})[matrix[1]] = share
        elif share > 0.01:  # the padding embedding is zero in every model
            others[name] = share
    known = [part for part in PARTS if any(part in parts for parts in layers.values())]
    other = ["whole"] if others else []
    rows: list[tuple[str, list[float | None]]] = [
        (f"layer {layer}", [*map(parts.get, known), *[None for _ in other]]) for layer, parts in sorted(layers.items())
    ]
    rows += [(name, [*[None for _ in known], share]) for name, share in others.items()]
    loss = ["loss alone"] if "layer_losses" in record.training["pruning"] else []
    return ["module", *(PARTS[part] for part in known), *other, *loss], rows


def cost_line(record: Record) -> str:
    """Non-zero weights, size, and speed compared with the parent's."""
    cost = record.cost
    return (
        f"{cost['params_nonzero']:,} of {cost['params_total']:,} weights are not zero; "
        f"{cost['bytes_compressed'] / 1e6:.1f} MB compressed with zstd, {cost['bytes_on_disk'] / 1e6:.1f} MB on disk; "
        f"{cost['compared_with']['times_texts_per_s']:.2f} times the parent's texts/s"
    )


def page(record: Record, parent: Record, others: Sequence[Record]) -> str:
    """Render a self-contained HTML page.

    Args:
        record: record of the run.
        parent: record of the model that was pruned.
        others: records of other runs with the same parent and method; in a multirun those finished so far.
    """
    pruning = record.training["pruning"]
    columns, rows = sparsity_rows(record)
    runs = sorted([record, *others], key=lambda run: _reached(run) or 0.0)
    run_rows = [_run_row("parent", parent), *map(_run_row, _titles(runs), runs)]
    known = [any(column) for column in zip(*(values for _, values in run_rows), strict=True)]
    return render_page(
        "pruning.html.j2",
        record=record,
        parent=parent,
        pruning=pruning,
        columns=columns,
        rows=rows,
        losses=pruning.get("layer_losses", []),
        run_columns=list(compress(RUN_COLUMNS, known)),
        runs=[(name, list(compress(values, known))) for name, values in run_rows],
        curve=_curve(record, parent, runs),
    )


def _curve(record: Record, parent: Record, runs: Sequence[Record]) -> Markup | None:
    """Accuracy on validation against sparsity: one-shot pruning without recovery, and each finished run.

    None if these are fewer than two points.
    """
    series: dict[str, list[tuple[float, float]]] = {}
    if record.training["pruning"].get("curve"):
        points = [(point["sparsity"], point["accuracy"]) for point in record.training["pruning"]["curve"]]
        series["one-shot, no recovery"] = points
    evaluated = [(_reached(run), run.metrics["val"]["accuracy"]) for run in runs if "val" in run.metrics]
    after = [(reached, accuracy) for reached, accuracy in evaluated if reached is not None]
    if after:
        series["these runs"] = after
    if sum(map(len, series.values())) < 2:
        return None
    dense = parent.metrics.get("val", {}).get("accuracy")
    described = "; ".join(
        f"{name}: " + ", ".join(f"{x:.0%} {y:.3f}" for x, y in sorted(points)) for name, points in series.items()
    )
    return Markup(
        plot.share_lines(
            series,
            "sparsity",
            "accuracy on val",
            f"Lines: accuracy by sparsity. {described}.",
            None if dense is None else (dense, "parent"),
        )
    )


def _run_row(name: str, record: Record) -> tuple[str, list[str]]:
    """Accuracy on val and test, non-zero weights, million bytes compressed, texts per second, speedup over the parent.

    Unknown values are "".
    """
    accuracies = [record.metrics.get(split, {}).get("accuracy") for split in ("val", "test")]
    cost = record.cost
    figures = [
        f"{cost['params_nonzero']:,}" if "params_nonzero" in cost else "",
        f"{cost['bytes_compressed'] / 1e6:.1f}" if "bytes_compressed" in cost else "",
        f"{cost['texts_per_s']:,.0f}" if "texts_per_s" in cost else "",
        f"{cost['compared_with']['times_texts_per_s']:.2f}" if "compared_with" in cost and name != "parent" else "",
    ]
    return name, ["" if accuracy is None else f"{accuracy:.4f}" for accuracy in accuracies] + figures


def _reached(record: Record) -> float | None:
    """The measured share of zeros; None if the pruner does not zero single weights."""
    value: float | None = record.training["pruning"].get("reached")
    return value


def _titles(runs: Sequence[Record]) -> list[str]:
    """Titles of the runs: the pruner's settings that differ between them, or the method if none differ."""
    settings = [record.settings["pruner"] for record in runs]
    differ = [name for name in settings[0] if len({str(one.get(name)) for one in settings}) > 1]
    titles = [", ".join(f"{name} {one.get(name)}" for name in differ) for one in settings]
    return [title or record.method for title, record in zip(titles, runs, strict=True)]
