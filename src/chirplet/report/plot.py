"""Figures as inline SVG, with one style: no pyplot, text as text, and colours that the page's CSS decides."""

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
"""Inches, so that a figure is about as wide as a phone and its text stays readable there."""

FONT_SIZE = 11

# Colours that stand for CSS variables until the SVG is text: matplotlib has no `var()`, pages have two themes.
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
"""Where a point's name may stand: offset in printer's points, and how the text is aligned there."""

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
    """A group of bars for each name, from the top down: one bar a series, one share (0 to 1) a name in each."""
    with mpl.rc_context(_STYLE):
        figure, axes = _axes(x_label=x_label, grid="x")
        height = 0.8 / len(series)
        places = np.arange(len(names))
        for i, (name, values) in enumerate(series.items()):
            offset = (i - (len(series) - 1) / 2) * height
            axes.barh(places + offset, values, height * 0.9, label=name, color=SERIES[i])
        axes.set_yticks(places, list(names))
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
    """Step outlines over common bins.

    Args:
        edges: the bins' edges, shape (bins + 1,).
        series: name to share (0 to 1) of each bin, shape (bins,).
        x_label: what is binned, with its unit.
        y_label: shares of what.
        alt: the figure in words, for who does not see it.
        mark: a place on the x axis for an upright line, and its name.
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
    """One line a series through its points (x, y), both shares (0 to 1); a series of one point is a dot.

    `mark` is a place on the y axis for a level line, and its name.
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
    """A named place in a scatter plot; `shown` says whether its name stands beside it."""

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
    """Points by group, at most five, one colour and shape each, over a logarithmic x axis; y are shares (0 to 1).

    `front` are the corners of a line, in the order of x.
    """
    with mpl.rc_context(_STYLE):
        figure, axes = _axes(x_label=x_label, y_label=y_label)
        axes.set_xscale("log")
        axes.plot(*zip(*front, strict=True), color=MUTED, linewidth=1.2, linestyle="--", zorder=1)
        assert len(groups) <= len(GROUPS)  # others would not be drawn
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
    """Write names where they hide no other point and no other name, and off the line `front` where that can be.

    A name for which there is no room is left out.
    """
    _add_legend(figure)  # it takes room
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]  # the places of things are known from here on
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]
    places = [axes.transData.transform((point.x, point.y)) for point in points]
    taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in places]
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
    """A dot with a line from its low to its high end for each name, from the top down, and an upright line at `mark`.

    `values` are (value, low, high) in the unit of `x_label`.
    """
    with mpl.rc_context(_STYLE):
        figure, axes = _axes(x_label=x_label, grid="x")
        figure.set_size_inches(SIZE[0], max(1.6, 0.9 + 0.26 * len(names)))
        places = np.arange(len(names))
        middle, low, high = (np.array(part) for part in zip(*values, strict=True))
        axes.axvline(mark, color=MUTED, linewidth=1.2, linestyle="--")
        axes.hlines(places, low, high, color=SERIES[0], linewidth=2)
        axes.plot(middle, places, "o", color=SERIES[0], markersize=5)
        axes.set_yticks(places, list(names))
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        return _svg(figure, alt)


def time_series(days: NDArray[np.datetime64], series: Mapping[str, Sequence[int]], y_label: str, alt: str) -> str:
    """One line a series over days; every series has one value a day."""
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
    """The figure as one `<svg>` element that scales with its surroundings and says in words what it shows."""
    _add_legend(figure)
    target = StringIO()
    metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
    # The salt makes ids the same in every run, and different between the figures of one page.
    with mpl.rc_context({"svg.hashsalt": alt}), warnings.catch_warnings():
        # Labels may be in any script: the browser has the glyphs that matplotlib misses as it measures.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(target, format="svg", transparent=True, metadata=metadata)
    text = target.getvalue()
    return _themed(text[text.index("<svg") :], alt)


def _themed(svg: str, alt: str) -> str:
    """Leave out what fixes size, font and colours, and names that another figure of the page has too."""
    svg = re.sub(r"<(metadata|style)\b.*?</\1>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r"font-family: [^;]*; ", "", svg)
    svg = re.sub(r"(fill|stroke): (#0\d0\d0\d)", lambda match: f"{match[1]}: {_VARIABLES[match[2]]}", svg)
    head, body = svg.split(">", 1)
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    named = head.replace("<svg", f'<svg role="img" aria-label="{escape(alt)}"')
    return f"{named}>{body}"
