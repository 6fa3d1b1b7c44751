"""How sensitive each layer of a quantized model is, made from its record: a table and a figure."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from rich.table import Table

from chirplet.artifact.artifact import Record
from chirplet.report.figure_style import HIGHLIGHT, SERIES, figure_style

SHOWN = 12
"""Rows of the table; the figure and the record have all layers."""


def sensitivity_table(record: Record) -> Table:
    """The most sensitive layers: how far answers go, in nats, when each alone is quantized, and which were kept."""
    found: dict[str, dict[str, float]] = record.training["sensitivity"]
    excluded = set(record.training["excluded_layers"])
    table = Table(
        title=f"Each layer quantized alone ({len(found)} layers, {len(excluded)} excluded)", title_justify="left"
    )
    table.add_column("layer")
    table.add_column("divergence on val", justify="right")
    table.add_column("loss on val", justify="right")
    table.add_column("excluded_layers")
    for layer, figures in list(found.items())[: max(SHOWN, len(excluded))]:
        table.add_row(
            layer,
            f"{figures['divergence']:.6f}",
            f"{figures['loss_rise']:+.5f}",
            "excluded_layers" if layer in excluded else "",
        )
    return table


def save_sensitivity(record: Record, path: Path) -> str:
    """A bar for each layer, the most sensitive on top, as an SVG file; gives its `<svg>` element."""
    found: dict[str, dict[str, float]] = record.training["sensitivity"]
    excluded = set(record.training["excluded_layers"])
    with mpl.rc_context(figure_style() | {"svg.hashsalt": record.method}):
        figure = Figure(figsize=(7.5, 1.2 + 0.2 * len(found)), layout="constrained")
        axes = figure.add_subplot()
        colours = [HIGHLIGHT if layer in excluded else SERIES[0] for layer in found]
        axes.barh(range(len(found)), [figures["divergence"] for figures in found.values()], color=colours)
        axes.set_yticks(range(len(found)), list(found), fontsize=8)
        axes.set_ylim(len(found) - 0.5, -0.5)
        axes.set_xlabel("divergence from fp32 on val (nats) when this layer alone is quantized")
        title = "orange layers are excluded: they keep a higher precision" if excluded else "no layer is excluded"
        figure.suptitle(f"{record.method}: {title}")
        figure.savefig(path, metadata={"Date": None})
    text = path.read_text(encoding="utf-8")
    return text[text.index("<svg") :]
