"""Figures as inline SVG: no pyplot, text stays text, colours come from the page's CSS."""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from io import StringIO
from itertools import product
from typing import Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.path import Path as MplPath
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator, StrMethodFormatter
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from chirplet.report.figure_style import figure_style

SIZE = (5.2, 3.1)
"""Inches. A figure is about as wide as a phone, where its text must be readable."""

FONT_SIZE = 11

# Placeholders for CSS variables, replaced in the finished SVG: matplotlib knows no `var()`, and pages have two themes.
INK, MUTED, GRID = "#010101", "#020202", "#030303"
SERIES = ("#040404", "#050505", "#060606", "#070707")
_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    SERIES[0]: "var(--series-1)",
    SERIES[1]: "var(--series-2)",
    SERIES[2]: "var(--series-3)",
    SERIES[3]: "var(--series-4)",
}

GROUPS = (*zip(SERIES, ("o", "s", "^", "D"), strict=True), (MUTED, "P"))
_NEXT_TO = (
    ((7, 0), "left", "center"),
    ((-7, 0), "right", "center"),
    ((0, 6), "center", "bottom"),
    ((0, -6), "center", "top"),
    ((6, 5), "left", "bottom"),
    ((-6, 5), "right", "bottom"),
    ((6, -5), "left", "top"),
    ((-6, -5), "right", "top"),
)
"""Candidate positions of a point's name: offset in printer's points, horizontal and vertical alignment."""

_PERCENT = FuncFormatter(lambda share, _: f"{100 * share:.3g}%")

_STYLE = figure_style(INK, MUTED, GRID) | {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": FONT_SIZE,
    "axes.facecolor": "none",
    "axes.grid.axis": "y",
    "grid.linewidth": 0.8,
    "legend.fontsize": FONT_SIZE - 1,
}


def share_bars(names: Sequence[str], series: Mapping[str, Sequence[float]], x_label: str, alt: str) -> str:
    """Draw grouped horizontal bars: one group per name, top down, one bar per series; values are shares (0 to 1)."""
    with mpl.rc_context(_STYLE):
        figure, axes = _axes(x_label=x_label, grid="x")
        height = 0.8 / len(series)
        positions = np.arange(len(names))
        for i, (name, values) in enumerate(series.items()):
            offset = (i - (len(series) - 1) / 2) * height
            axes.barh(positions + offset, values, height * 0.9, label=name, color=SERIES[i])
        axes.set_yticks(positions, list(names))
        axes.invert_yaxis()
        axes.xaxis.set_major_formatter(_PERCENT)
        axes.tick_params(axis="y", length=0)
        return _svg(figure, alt)


def share_histogram(
    edges: NDArray[np.float64],
    series: Mapping[str, NDArray[np.float64]],
    x_label: str,
    y_label: str,
    alt: str,
    mark: tuple[float, str] | None = None,
) -> str:
    """Draw step outlines over common bins.

    Args:
        edges: edges of the bins, shape (bins + 1,).
        series: name to share (0 to 1) of each bin, shape (bins,).
        x_label: what is binned, with its unit.
        y_label: what the shares are of.
        alt: description of the figure for screen readers.
        mark: x position and label of a vertical line.
    """
    with mpl.rc_context(_STYLE):
        figure, axes = _axes(x_label=x_label, y_label=y_label)
        for i, (name, heights) in enumerate(series.items()):
            axes.stairs(heights, edges, label=name, color=SERIES[i], linewidth=1.8, fill=False)
        if mark is not None:
            axes.axvline(mark[0], color=INK, linestyle="--", linewidth=1.2, label=mark[1])
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(_PERCENT)
        return _svg(figure, alt)


def share_lines(
    series: Mapping[str, Sequence[tuple[float, float]]],
    x_label: str,
    y_label: str,
    alt: str,
    mark: tuple[float, str] | None = None,
) -> str:
    """Draw one line per series through its points (x, y), both shares (0 to 1); a series of one point is a dot.

    `mark` is the y position and label of a horizontal line.
    """
    with mpl.rc_context(_STYLE):
        figure, axes = _axes(x_label=x_label, y_label=y_label)
        for i, (name, points) in enumerate(series.items()):
            x, y = zip(*sorted(points), strict=True)
            axes.plot(x, y, label=name, color=SERIES[i], linewidth=1.8, marker="o", markersize=4)
        if mark is not None:
            axes.axhline(mark[0], color=INK, linestyle="--", linewidth=1.2, label=mark[1])
        axes.xaxis.set_major_formatter(_PERCENT)
        axes.yaxis.set_major_formatter(_PERCENT)
        return _svg(figure, alt)


@dataclass(frozen=True)
class Point:
    """A named point of a scatter plot; its name is drawn where `shown` is true."""

    name: str
    x: float
    y: float
    shown: bool


def scatter(
    groups: Mapping[str, Sequence[Point]],
    front: Sequence[tuple[float, float]],
    x_label: str,
    y_label: str,
    alt: str,
) -> str:
    """Draw points over a logarithmic x axis; y is a share (0 to 1). Each of at most five groups has a colour and shape.

    `front` holds the points of the dashed line, in the order of x.
    """
    with mpl.rc_context(_STYLE):
        figure, axes = _axes(x_label=x_label, y_label=y_label)
        axes.set_xscale("log")
        axes.plot(*zip(*front, strict=True), color=MUTED, linewidth=1.2, linestyle="--", zorder=1)
        assert len(groups) <= len(GROUPS)  # `zip` would drop the others
        for (name, points), (colour, marker) in zip(groups.items(), GROUPS, strict=False):
            x, y = zip(*((point.x, point.y) for point in points), strict=True)
            axes.scatter(x, y, label=name, color=colour, marker=marker, s=36, zorder=2)
        axes.margins(x=0.18, y=0.14)
        axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(_PERCENT)
        _name_points(figure, axes, [point for points in groups.values() for point in points], front)
        return _svg(figure, alt)


def _name_points(figure: Figure, axes: Axes, points: Sequence[Point], front: Sequence[tuple[float, float]]) -> None:
    """Write names where they cover no other point or name, and off the line `front` if possible.

    A name without room is left out.
    """
    _add_legend(figure)  # it takes room
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]  # the layout is computed here
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]
    centres = [axes.transData.transform((point.x, point.y)) for point in points]
    taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in centres]
    line = MplPath(axes.transData.transform(list(front)))
    for i, point in enumerate(points):
        if not point.shown:
            continue
        for on_line, (offset, across, along) in product((False, True), _NEXT_TO):
            text = axes.annotate(
                point.name,
                (point.x, point.y),
                offset,
                textcoords="offset points",
                ha=across,
                va=along,
                fontsize=FONT_SIZE - 2.5,
                annotation_clip=False,
            )
            text.set_in_layout(False)
            box = text.get_window_extent(renderer)
            inside = axes.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 and box.y0 >= axes.bbox.y0
            crossed = not on_line and line.intersects_bbox(box, filled=False)
            if inside and not crossed and not any(box.overlaps(other) for j, other in enumerate(taken) if j != i):
                taken.append(box)
                break
            text.remove()


def intervals(
    names: Sequence[str], values: Sequence[tuple[float, float, float]], x_label: str, alt: str, mark: float
) -> str:
    """Draw a dot with its interval for each name, top down, and a vertical line at `mark`.

    `values` are (value, low, high) in the unit of `x_label`.
    """
    with mpl.rc_context(_STYLE):
        figure, axes = _axes(x_label=x_label, grid="x")
        figure.set_size_inches(SIZE[0], max(1.6, 0.9 + 0.26 * len(names)))
        positions = np.arange(len(names))
        middle, low, high = (np.array(part) for part in zip(*values, strict=True))
        axes.axvline(mark, color=MUTED, linewidth=1.2, linestyle="--")
        axes.hlines(positions, low, high, color=SERIES[0], linewidth=2)
        axes.plot(middle, positions, "o", color=SERIES[0], markersize=5)
        axes.set_yticks(positions, list(names))
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        return _svg(figure, alt)


def time_series(days: NDArray[np.datetime64], series: Mapping[str, Sequence[int]], y_label: str, alt: str) -> str:
    """Draw one line per series over days; every series has one value per day."""
    with mpl.rc_context(_STYLE):
        figure, axes = _axes(y_label=y_label)
        for i, (name, values) in enumerate(series.items()):
            axes.plot(
                days.astype("datetime64[D]").astype(object),
                values,
                label=name,
                color=SERIES[i],
                linewidth=1.8,
                marker="." if len(days) < 60 else "",
            )
        locator = AutoDateLocator(minticks=3, maxticks=6)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))  # type: ignore[no-untyped-call]
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        return _svg(figure, alt)


def _axes(x_label: str = "", y_label: str = "", grid: Literal["x", "y"] = "y") -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(True, axis=grid)
    return figure, axes


def _add_legend(figure: Figure) -> None:
    if not figure.legends and len(figure.axes[0].get_legend_handles_labels()[0]) > 1:
        figure.legend(loc="outside upper left", ncols=4, handlelength=1.2, columnspacing=1.2)


def _svg(figure: Figure, alt: str) -> str:
    """The figure as one `<svg>` element that scales with its container and has `alt` as its label."""
    _add_legend(figure)
    target = StringIO()
    metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
    # The salt makes ids reproducible and unique among the figures of one page.
    with mpl.rc_context({"svg.hashsalt": alt}), warnings.catch_warnings():
        # Labels may be in any script: the browser has the glyphs that matplotlib's font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(target, format="svg", transparent=True, metadata=metadata)
    text = target.getvalue()
    return _themed(text[text.index("<svg") :], alt)


def _themed(svg: str, alt: str) -> str:
    """Remove fixed sizes, fonts and colours, and group ids, which other figures of the page share."""
    svg = re.sub(r"<(metadata|style)\b.*?</\1>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r"font-family: [^;]*; ", "", svg)
    svg = re.sub(r"(fill|stroke): (#0\d0\d0\d)", lambda match: f"{match[1]}: {_VARIABLES[match[2]]}", svg)
    head, body = svg.split(">", 1)
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    named = head.replace("<svg", f'<svg role="img" aria-label="{escape(alt)}"')
    return f"{named}>{body}"
