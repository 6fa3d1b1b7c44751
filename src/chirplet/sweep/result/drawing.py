"""The style and the shared marks of a sweep's figures."""

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from chirplet.report.figure_style import figure_style
from chirplet.system.atomic_io import atomic_file

DPI = 150
FAILED = "#b5323a"
# Viridis without the colours that are invisible on white, light first: later and better trials are darker.
SHADES = LinearSegmentedColormap.from_list("shades", colormaps["viridis"](np.linspace(0.88, 0.05, 64)).tolist())

STYLE = figure_style() | {"axes.formatter.useoffset": False, "axes.grid": True}
SLANT: dict[str, Any] = {"rotation": 25, "ha": "right", "rotation_mode": "anchor"}


def dots(axes: Axes, points: Sequence[tuple[float, float]], colour: Any, label: str | None = None) -> None:
    """Points as filled dots; `colour` is one colour, or one per point."""
    if points:
        axes.scatter([x for x, _ in points], [y for _, y in points], s=30, c=colour, label=label, zorder=3)


def rings(axes: Axes, points: Sequence[tuple[float, float]], colour: str, label: str, size: float = 26) -> None:
    """Points as open circles of `size` square points."""
    if points:
        look: dict[str, Any] = {"facecolors": "none", "edgecolors": colour, "linewidths": 1.4, "zorder": 2}
        axes.scatter([x for x, _ in points], [y for _, y in points], s=size, label=label, **look)


def legend(figure: Figure) -> None:
    """A legend above the panels, with one entry per label."""
    pairs = [pair for axes in figure.axes for pair in zip(*axes.get_legend_handles_labels(), strict=True)]
    handles = {label: handle for handle, label in pairs}
    if handles:
        figure.legend(list(handles.values()), list(handles), loc="outside upper left", ncols=5, columnspacing=1.4)


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, atomically.

    Raises:
        OSError: the file cannot be written.
    """
    image = io.BytesIO()
    # Without matplotlib's version in the metadata, the same study always makes the same file.
    figure.savefig(image, format="png", dpi=DPI, metadata={"Software": None})
    with atomic_file(path) as stream:
        stream.write(image.getvalue())
    return path


def wrapped(label: str, width: int) -> str:
    """The label in lines of about `width` characters, wrapped after dots, slashes and underscores."""
    lines = [""]
    for part in re.findall(r"[^._/]*[._/]|[^._/]+", label):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)
