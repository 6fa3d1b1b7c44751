"""How sensitive each layer of a quantized model is, made from its record: a table and a figure."""

from pathlib import Path

from matplotlib.figure import Figure
from rich.table import Table

from chirplet.artifact import Record

SHOWN = 12
"""Rows of the table; the figure and the record have all layers."""
KEPT, QUANTIZED = "#b5482e", "#5b7b9a"


def sensitivity_table(record: Record) -> Table:
    """The most sensitive layers: how much the loss rises when each alone is quantized, and which were kept."""
    rises: dict[str, float] = record.training["sensitivity"]
    kept = set(record.training["kept"])
    table = Table(title=f"Each layer quantized alone ({len(rises)} layers, {len(kept)} kept)", title_justify="left")
    table.add_column("layer")
    table.add_column("loss on val (nats)", justify="right")
    table.add_column("kept")
    for layer, rise in list(rises.items())[: max(SHOWN, len(kept))]:
        table.add_row(layer, f"{rise:+.5f}", "kept" if layer in kept else "")
    return table


def save_sensitivity(record: Record, path: Path) -> None:
    """A bar for each layer, the most sensitive on top, as an SVG file."""
    rises: dict[str, float] = record.training["sensitivity"]
    kept = set(record.training["kept"])
    figure = Figure(figsize=(7.5, 1.2 + 0.2 * len(rises)), layout="constrained")
    axes = figure.add_subplot()
    colours = [KEPT if layer in kept else QUANTIZED for layer in rises]
    axes.barh(range(len(rises)), list(rises.values()), color=colours)
    axes.set_yticks(range(len(rises)), list(rises), fontsize=8)
    axes.set_ylim(len(rises) - 0.5, -0.5)
    axes.set_xlabel("rise of the loss on val (nats) when this layer alone is quantized")
    axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{record.method}: " + ("red layers are kept in higher precision" if kept else "no layer is kept"))
    figure.savefig(path, metadata={"Date": None})
