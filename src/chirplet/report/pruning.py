"""A pruned model shown: what is zero where, what pruning alone does, and runs from one parent side by side."""

from collections.abc import Sequence

from markupsafe import Markup
from rich.table import Table

from chirplet.artifact.artifact import Record
from chirplet.model.family import matrix_of
from chirplet.model.family.base import MatrixName
from chirplet.report import plot
from chirplet.report.page import render_page

PARTS: dict[MatrixName, str] = {
    "query": "query",
    "key": "key",
    "value": "value",
    "attention_output": "attention out",
    "intermediate": "up",
    "output": "down",
}
"""A layer's matrices and what they are called in tables."""


def tables(record: Record) -> list[Table]:
    """Sparsity by module, where anything is zero, and the curve, where there is one."""
    pruning = record.training["pruning"]
    found = []
    columns, rows = sparsity_rows(record)
    losses = pruning.get("layer_losses", [])
    if any(share for _, shares in rows for share in shares if share is not None):
        alone = ", and what pruning this layer alone adds to the loss on val (nats)" if losses else ""
        table = Table(title=f"Zeros in each matrix{alone}", title_justify="left")
        for column in columns:
            table.add_column(column, justify="left" if column == columns[0] else "right")
        for place, (name, shares) in enumerate(rows):
            loss = [f"{losses[place]:+.4f}"] if place < len(losses) else []
            table.add_row(name, *("" if share is None else f"{share:.1%}" for share in shares), *loss)
        found.append(table)
    if pruning.get("curve"):
        table = Table(title="Pruned at once, without recovery, on val", title_justify="left")
        for column in ("sparsity", "accuracy", "loss (nats)"):
            table.add_column(column, justify="right")
        for point in pruning["curve"]:
            table.add_row(f"{point['sparsity']:.0%}", f"{point['accuracy']:.4f}", f"{point['loss']:.4f}")
        found.append(table)
    return found


def sparsity_rows(record: Record) -> tuple[list[str], list[tuple[str, list[float | None]]]]:
    """Headings, and a row for each layer, lowest first, and for all other modules with zeros; shares of zeros.

    The last heading is of the loss, where the record has it.
    """
    layers: dict[int, dict[MatrixName, float]] = {}
    others: dict[str, float] = {}
    for name, share in record.training["pruning"]["sparsity"].items():
        matrix = matrix_of(name)
        if matrix is not None:
            layers.setdefault(matrix[0], {})[matrix[1]] = share
        elif share > 0.01:  # less is the padding's embedding, which is zero in every model
            others[name] = share
    rows: list[tuple[str, list[float | None]]] = [
        (f"layer {layer}", [parts.get(part) for part in PARTS]) for layer, parts in sorted(layers.items())
    ]
    rows += [(name, [share, *([None] * (len(PARTS) - 1))]) for name, share in others.items()]
    loss = ["loss alone"] if "layer_losses" in record.training["pruning"] else []
    return ["module", *PARTS.values(), *loss], rows


def cost_line(record: Record) -> str:
    """What the zeros save, and how fast the model was measured to be beside its parent."""
    cost = record.cost
    return (
        f"{cost['params_nonzero']:,} of {cost['params_total']:,} weights are not zero; "
        f"{cost['bytes_compressed'] / 1e6:.1f} MB compressed with zstd, {cost['bytes_on_disk'] / 1e6:.1f} MB as it is; "
        f"{cost['compared_with']['times_texts_per_s']:.2f} times the parent's texts/s"
    )


def page(own: Record, parent: Record, compared_with: Sequence[Record]) -> str:
    """A self-contained HTML page.

    Args:
        own: the run's own record.
        parent: that of what was pruned.
        beside: those of other runs from the same parent, by the same method; in a multirun those finished so far.
    """
    pruning = own.training["pruning"]
    columns, rows = sparsity_rows(own)
    runs = sorted([own, *compared_with], key=lambda record: _reached(record) or 0.0)
    return render_page(
        "pruning.html.j2",
        own=own,
        parent=parent,
        pruning=pruning,
        columns=columns,
        rows=rows,
        losses=pruning.get("layer_losses", []),
        runs=[_run_row("parent", parent), *map(_run_row, _titles(runs), runs)],
        curve=_curve(own, parent, runs),
    )


def _curve(own: Record, parent: Record, runs: Sequence[Record]) -> Markup | None:
    """Accuracy on validation against sparsity: pruning alone, and each run after its recovery."""
    series: dict[str, list[tuple[float, float]]] = {}
    if own.training["pruning"].get("curve"):
        points = [(point["sparsity"], point["accuracy"]) for point in own.training["pruning"]["curve"]]
        series["at once, no recovery"] = points
    evaluated = [(_reached(record), record.metrics["val"]["accuracy"]) for record in runs if "val" in record.metrics]
    after = [(reached, accuracy) for reached, accuracy in evaluated if reached is not None]
    if after:
        series["these runs"] = after
    if not series:
        return None
    dense = parent.metrics.get("val", {}).get("accuracy")
    summary = "; ".join(
        f"{name}: " + ", ".join(f"{x:.0%} {y:.3f}" for x, y in sorted(points)) for name, points in series.items()
    )
    return Markup(
        plot.share_lines(
            series,
            "sparsity",
            "accuracy on val",
            f"Lines: accuracy by sparsity. {summary}.",
            None if dense is None else (dense, "parent"),
        )
    )


def _run_row(name: str, record: Record) -> tuple[str, list[str]]:
    """Accuracy on val and test, weights that are not zero, million bytes compressed, texts a second.

    How many times the parent's speed that is was measured interleaved. What is not known is "".
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
    """The share of zeros as it was measured; None where no single weights were pruned."""
    value: float | None = record.training["pruning"].get("reached")
    return value


def _titles(runs: Sequence[Record]) -> list[str]:
    """The settings of the pruner that differ between runs; the method for a single run."""
    settings = [record.settings["pruner"] for record in runs]
    differ = [name for name in settings[0] if len({str(one.get(name)) for one in settings}) > 1]
    names = [", ".join(f"{name} {one.get(name)}" for name in differ) for one in settings]
    return [title or record.method for title, record in zip(names, runs, strict=True)]
