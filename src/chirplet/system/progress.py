"""Progress of work that may take more than a few seconds."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Self, TypeVar

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bars

from chirplet.system.console import console

AFTER_S = 5.0
"""Seconds without a display, since most work is finished by then."""
REFRESH_S = 0.5
"""Seconds between two updates on a terminal."""
LINE_S = 10.0
"""Seconds between two lines without a terminal."""

Item = TypeVar("Item")


class Progress:
    """Shows how far the work of its block is: a bar on a terminal, else lines, on standard error.

    Blocks may be nested: the outermost one that counts is shown. A thread of the first block updates the display, so
    that a long step is seen too.
    """

    def __init__(
        self, what: str, total: int | None = None, unit: str = "texts", clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Describe the work.

        Args:
            what: the work, for example `tokenizing`.
            total: number of all items, if it is known.
            unit: what the items are.
            clock: returns seconds.
        """
        self.what = what
        self.total = total
        self.unit = unit
        self.done = 0
        self._clock = clock
        self._begun = clock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        _open.append(self)
        if _open[0] is self:
            self._thread = threading.Thread(target=self._show, name="progress", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._thread is None:
            with suppress(ValueError):  # the outer one is over
                _open.remove(self)
            return
        self._over.set()
        self._thread.join()
        _open.clear()

    def __call__(self, items: Iterable[Item], size: Callable[[Item], int] | None = None) -> Iterator[Item]:
        """The items, each counted as one or as its `size` when the next one is requested."""
        for item in items:
            yield item
            self.done += 1 if size is None else size(item)

    def __str__(self) -> str:
        """The number of items, their rate and the time left, as far as they are known; else the time so far."""
        seconds = self._clock() - self._begun
        if not self.done or not seconds:
            return f"{_span(seconds)} so far"
        speed = self.done / seconds
        rate = f"{speed:,.0f} {self.unit}/s" if speed >= 1 else f"{1 / speed:.1f} s each"
        if self.total is None:
            return f"{self.done:,} {self.unit}  {rate}"
        left = max(0.0, (self.total - self.done) / speed)
        return f"{self.done:,} of {self.total:,} {self.unit}  {rate}  {_span(left)} left"

    def _show(self) -> None:
        if self._over.wait(AFTER_S):
            return
        with suppress(OSError, ValueError):  # standard error is closed
            out = console(stderr=True)
            if out.is_terminal:
                self._show_bar(out)
                return
            while True:
                now = _shown()
                out.print(f"{now.what}  {now}", highlight=False)
                if self._over.wait(LINE_S):
                    return

    def _show_bar(self, out: Console) -> None:
        columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}")
        # Standard output is not redirected: it may be the output of a prediction.
        with Bars(*columns, console=out, transient=True, redirect_stdout=False, redirect_stderr=False) as bars:
            task = bars.add_task(self.what, total=None, note="")
            while True:
                now = _shown()
                bars.tasks[0].total = now.total  # `update` cannot reset it to None, with which the bar pulses
                bars.update(task, description=now.what, completed=now.done, note=str(now))
                if self._over.wait(REFRESH_S):
                    return


_open: list[Progress] = []
"""The blocks that are open, the outermost first."""


def counted(
    items: Iterable[Item], what: str, total: int | None = None, size: Callable[[Item], int] | None = None
) -> Iterator[Item]:
    """The items, counted in a block of their own within an open one; without one nothing is shown."""
    if not _open:
        yield from items
        return
    with Progress(what, total) as progress:
        yield from progress(items, size)


def silence() -> None:
    """Show no progress in this process: its parent shows its own."""
    global AFTER_S
    AFTER_S = threading.TIMEOUT_MAX


def _shown() -> Progress:
    """The outermost block that counts, else the innermost one."""
    blocks = list(_open)
    return next((block for block in blocks if block.done or block.total is not None), blocks[-1])


def _span(seconds: float) -> timedelta:
    return timedelta(seconds=round(seconds))
