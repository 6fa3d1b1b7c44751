"""The style of all figures: on pages, of sweeps and in files."""

from typing import Any

INK, MUTED, GRID = "#222222", "#8a8a8a", "#e4e4e4"
SERIES = ("#3b6fb6", "#3a8f5c", "#8a5fb0", "#8c6d46")
HIGHLIGHT = "#d9730d"
"""The colour of what a reader should see first: the best trial, an excluded layer."""


def figure_style(ink: str = INK, muted: str = MUTED, grid: str = GRID) -> dict[Any, Any]:
    """Settings for `matplotlib.rc_context`: colours of text (`ink`), axes (`muted`) and grid lines (`grid`)."""
    return {
        "text.color": ink,
        "text.parse_math": False,  # a label with two dollar signs is no formula
        "axes.edgecolor": muted,
        "axes.labelcolor": ink,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "grid.color": grid,
        "xtick.color": muted,
        "ytick.color": muted,
        "xtick.labelcolor": ink,
        "ytick.labelcolor": ink,
        "legend.frameon": False,
    }
