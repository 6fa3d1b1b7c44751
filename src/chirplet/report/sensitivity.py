"""Sensitivity of each layer of a quantized model: a table and a figure, made from its record."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from chirplet.artifact.artifact import RECORD, Record
from chirplet.report.figure_style import HIGHLIGHT, SERIES, figure_style
from chirplet.system.fitted_table import FittedTable

SHOWN = 12
"""Rows of the table; the figure and the record have all layers."""


def sensitivity_table(record: Record) -> FittedTable:
    """The most sensitive layers: divergence and loss (nats) when only this layer is quantized; excluded layers."""
    layers: dict[str, dict[str, float]] = record.training["sensitivity"]
    excluded = set(record.training["excluded_layers"])
    title = f"Each layer quantized alone ({len(layers)} layers, {len(excluded)} excluded)"
    table = FittedTable(title, ["excluded", "loss on val"], RECORD)
    table.add_column("layer")
    table.add_column("divergence on val", justify="right")
    table.add_column("loss on val", justify="right")
    table.add_column("excluded")
    for layer, effect in list(layers.items())[: max(SHOWN, len(excluded))]:
        mark = "excluded" if layer in excluded else ""
        table.add_row(layer, f"{effect['divergence']:.6f}", f"{effect['loss_rise']:+.5f}", mark)
    return table


def save_sensitivity(record: Record, path: Path) -> str:
    """Write one bar per layer, the most sensitive on top, to the SVG file `path`; return its `<svg>` element."""
    layers: dict[str, dict[str, float]] = record.training["sensitivity"]
    excluded = set(record.training["excluded_layers"])
    with mpl.rc_context(figure_style() | {"svg.hashsalt": record.method}):
        figure = Figure(figsize=(7.5, 1.2 + 0.2 * len(layers)), layout="constrained")
        axes = figure.add_subplot()
        colours = [HIGHLIGHT if layer in excluded else SERIES[0] for layer in layers]
        axes.barh(range(len(layers)), [effect["divergence"] for effect in layers.values()], color=colours)
        axes.set_yticks(range(len(layers)), list(layers), fontsize=8)
        axes.set_ylim(len(layers) - 0.5, -0.5)
        axes.set_xlabel("divergence from fp32 on val (nats) when this layer alone is quantized")
        title = "orange layers are excluded" if excluded else "no layer is excluded"
        figure.suptitle(f"{record.method}: {title}")
        figure.savefig(path, metadata={"Date": None})
    text = path.read_text(encoding="utf-8")
    return text[text.index("<svg") :]
