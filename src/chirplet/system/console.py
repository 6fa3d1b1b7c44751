"""The console, and which libraries may write to it."""

import logging
import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.rule import Rule
from rich.segment import Segment
from rich.text import Text

from chirplet.system.escaping import terminal

PIPE_WIDTH = 240
"""Greatest width of tables, if the output is not a terminal and `COLUMNS` is not set: they are as wide as they need."""
RULE_WIDTH = 80
"""Greatest width of a rule."""


class _Console(Console):
    """A console that escapes control characters; see `chirplet.system.escaping.terminal`."""

    def render_str(self, text: str, **settings: Any) -> Text:
        # Escaped before it is measured, so that columns stay aligned.
        return super().render_str(terminal(text), **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(terminal(segment.text), segment.style)

    def heading(self, text: str) -> None:
        """Print the text, followed by a rule."""
        self.print(Rule(text, align="left"), width=RULE_WIDTH)


def console(stderr: bool = False) -> _Console:
    """The console, which respects `NO_COLOR` and `COLUMNS`. If the output is not a terminal, lines are not wrapped.

    Markup is off, because labels and hashtags come from data and may look like it (`[red]`). Control characters are
    escaped.
    """
    target = _Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not target.is_terminal:
        target.soft_wrap = True
        if not os.environ.get("COLUMNS", "").isdigit():
            target.width = PIPE_WIDTH
    return target


def shown_path(path: Path) -> str:
    """The path, relative if it is below the working directory."""
    current = Path.cwd()
    return str(path.relative_to(current) if path.is_relative_to(current) else path)


def quiet_libraries() -> None:
    """Hide libraries' messages that do not concern the user; errors stay."""
    for name in ("httpx", "httpx2", "fontTools"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns that a read-only home is no place for its cache
    warnings.filterwarnings("ignore", message="Experiment logs directory .* exists and is not empty.*")
