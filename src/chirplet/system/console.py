"""Where people read what a run says."""

import logging
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from chirplet.system.escaping import terminal

PIPE_WIDTH = 240
"""Columns a table may take where there is no terminal to fit: a log has no use for folded cells."""


class _Console(Console):
    """What it prints moves no cursor and sets no colour but its own; see `chirplet.system.escaping.terminal`."""

    def render_str(self, text: str, **settings: Any) -> Text:
        # Before it is measured, so that columns stay aligned.
        return super().render_str(terminal(text), **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(terminal(segment.text), segment.style)


def console(stderr: bool = False) -> Console:
    """Where to print: respects `NO_COLOR`; off a terminal nothing is wrapped, so that paths stay whole.

    Markup is off: labels and hashtags come from data and may hold anything, `[red]` too. Control characters are shown,
    and do nothing.
    """
    target = _Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not target.is_terminal:
        target.soft_wrap = True
        target.width = PIPE_WIDTH
    return target


def shown_path(path: Path) -> str:
    """Relative where it lies below the working directory, since that is how people type it."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def quiet_libraries() -> None:
    """Keep the libraries' housekeeping off the terminal; errors and chirplet's own lines stay."""
    for name in ("httpx", "httpx2", "matplotlib", "fontTools"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*`isinstance.treespec, LeafSpec.` is deprecated.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        "Experiment logs directory .* exists and is not empty.*",
        ".*You defined a `validation_step` but have no `val_dataloader`.*",
        ".*is smaller than the logging interval.*",
    ):
        warnings.filterwarnings("ignore", message=message)
