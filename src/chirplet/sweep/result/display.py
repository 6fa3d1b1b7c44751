"""The progress of a sweep: a line for each finished trial, and a table on a terminal."""

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from optuna.trial import FrozenTrial, TrialState
from rich.cells import cell_len, set_cell_size
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from chirplet.sweep.plan.plan import Plan
from chirplet.sweep.result.standing import LEADERS, Standing, estimate, feasible, seconds, timestamp

VALUE_DIGITS = 4
SETTING_DIGITS = 3
RANKS = ("best", "2nd", "3rd")
REMEMBERED_UPDATES = 30
"""Updates after which an idle worker no longer counts: enough for it to get its next trial."""

STYLES = {TrialState.FAIL: "red", TrialState.PRUNED: "dim"}


class SweepDisplay:
    """Shows the progress of a sweep, from the trials of its study alone.

    Each finished trial is printed once, as one line. On a terminal, a table below the lines shows the running and the
    best trials until the display is closed. `clock` returns seconds since the epoch.
    """

    def __init__(self, plan: Plan, console: Console, clock: Callable[[], float] = time.time) -> None:
        self._plan = plan
        self._console = console
        self._clock = clock
        self._live: Live | None = None
        if console.is_interactive:
            # Workers print to files, and a trial in this process redirects its output itself.
            self._live = Live(
                console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
            )
        self._standing = Standing(plan.directions)
        self._printed: set[int] = set()
        self._is_first = True
        self._running_counts: deque[int] = deque(maxlen=REMEMBERED_UPDATES)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def update(self, trials: Sequence[FrozenTrial]) -> None:
        """Show what happened since the last update. `trials` are all trials of the study, in any order."""
        finished = [trial for trial in trials if trial.state.is_finished()]
        running = [trial for trial in trials if trial.state == TrialState.RUNNING]
        # A custom search space adds parameters that the plan does not have.
        names = last_parts([*self._plan.space, *(key for trial in trials for key in trial.params)], ".")
        eta = self._eta(finished, running)
        # On a terminal, the table shows the ETA.
        lines = self._new_lines(finished, names, eta if self._live is None else "")
        if self._live is not None:
            self._live.update(self._table(finished, running, names, eta))
            self._live.start()
        for line in lines:
            # Rich wraps lines only on a terminal; a log has one line per trial.
            self._console.print(line, soft_wrap=self._live is None)
        if self._live is not None:
            self._live.refresh()

    def close(self) -> None:
        """Remove the table; the lines stay. Closing twice does nothing."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _new_lines(self, finished: Sequence[FrozenTrial], names: Mapping[str, str], eta: str) -> list[Text]:
        """A line for each new finished trial, in order of finishing; one line for all trials of earlier commands."""
        new = sorted((trial for trial in finished if trial.number not in self._printed), key=_order)
        lines = []
        for trial in new:
            self._printed.add(trial.number)
            leads = self._standing.add(trial)
            parts = [self._outcome(trial, leads), " ".join(settings(trial, names)), eta]
            text = f"[{len(self._printed)}/{self._plan.n_trials}] " + "; ".join(part for part in parts if part)
            lines.append(self._text(text, "green" if leads else STYLES.get(trial.state, "")))
        if self._is_first and new:
            verb = "is" if len(new) == 1 else "are"
            text = ", ".join([f"resuming: {len(new)} of {self._plan.n_trials} trials {verb} done", *self._lead()])
            lines = [self._text(text)]
        self._is_first = False
        return lines

    def _outcome(self, trial: FrozenTrial, leads: bool) -> str:
        """The outcome of a finished trial, as in `trial 3: complete, val/f1_macro 0.6712 (best so far), 41 s`."""
        if trial.state == TrialState.FAIL:
            failure = one_line(trial.user_attrs.get("failure") or "")
            return f"trial {trial.number}: failed" + (f", {failure}" if failure else "")
        took = duration(seconds(trial))
        time_taken = [took] if took else []
        if trial.state == TrialState.PRUNED:
            at = "" if trial.last_step is None else f" at report {trial.last_step}"
            values = trial.values if trial.last_step is None else [trial.intermediate_values[trial.last_step]]
            return ", ".join([f"trial {trial.number}: pruned{at}", *self._named(values), *time_taken])
        words = [f"trial {trial.number}: complete", *([] if feasible(trial) else ["infeasible"])]
        praise = " (best so far)" if len(self._plan.objectives) == 1 else " (on the front)"
        result = ", ".join([*words, *self._named(trial.values)])
        return ", ".join([result + (praise if leads else ""), *time_taken])

    def _named(self, values: Sequence[float] | None) -> list[str]:
        # A damaged trial can have fewer values than there are objectives.
        pairs = zip(self._plan.objectives, values or (), strict=False)
        return [f"{name} {shown(value, VALUE_DIGITS)}" for name, value in pairs]

    def _lead(self) -> list[str]:
        """The best trial, or the size of the front; empty if there is none."""
        leaders = self._standing.leaders
        if not leaders:
            return []
        if len(self._plan.objectives) > 1:
            return [f"front {len(leaders)} trial{'s' if len(leaders) > 1 else ''}"]
        _, best = leaders[0]
        return [f"best {self._named(best.values)[0]} (trial {best.number})"]

    def _eta(self, finished: Sequence[FrozenTrial], running: Sequence[FrozenTrial]) -> str:
        self._running_counts.append(len(running))
        took = [
            length for trial in finished if trial.state != TrialState.FAIL and (length := seconds(trial)) is not None
        ]
        elapsed = [self._elapsed(trial) or 0.0 for trial in running]
        left = estimate(self._plan.n_trials - len(finished), took, elapsed, max(1, *self._running_counts))
        return "" if left is None else f"ETA {duration(max(1.0, left))}"

    def _elapsed(self, trial: FrozenTrial) -> float | None:
        start = timestamp(trial.datetime_start)
        return None if start is None else max(0.0, self._clock() - start)

    def _table(
        self, finished: Sequence[FrozenTrial], running: Sequence[FrozenTrial], names: Mapping[str, str], eta: str
    ) -> Group:
        """The head, running trials, then the best trials, within the width and height of the console."""
        width = self._console.width
        head = packed(self._head(finished, running, eta), width)
        ranks = RANKS if len(self._plan.objectives) == 1 else ("front",) * LEADERS
        leaders = list(zip(ranks, self._standing.leaders[:LEADERS], strict=False))
        # Three more lines: the headings, the number of hidden trials, and the cursor.
        room = max(1, self._console.height - len(head) - len(leaders) - 3)
        shown_running = sorted(running, key=lambda trial: trial.number)[:room]
        columns = len(self._plan.objectives)
        # Several full headings would leave no room for the settings; the head and the lines have the full names.
        headings = self._plan.objectives if columns == 1 else last_parts(self._plan.objectives, "/").values()

        rows = [(["", "trial", *headings, "time"], ["settings"], "dim")]
        for trial in shown_running:
            step = trial.last_step
            report = "" if step is None else f"{shown(trial.intermediate_values[step], VALUE_DIGITS)} at report {step}"
            values = [report, *[""] * (columns - 1)]
            cells = ["running", str(trial.number), *values, duration(self._elapsed(trial))]
            rows.append((cells, settings(trial, names), ""))
        for rank, (_, trial) in leaders:
            values = [shown(value, VALUE_DIGITS) for value in trial.values or ()]
            cells = [rank, str(trial.number), *values, duration(seconds(trial))]
            rows.append((cells, settings(trial, names), "green"))

        lines = [self._text(line, "bold", width) for line in head]
        if len(rows) > 1:
            widths = [max(len(cells[i]) for cells, _, _ in rows) for i in range(columns + 3)]
            for cells, words, style in rows:
                left = "  ".join(cell.ljust(size) for cell, size in zip(cells, widths, strict=True))
                lines.append(self._text(f"{left}  {fitted(words, width - len(left) - 2)}".rstrip(), style, width))
        hidden = len(running) - len(shown_running)
        return Group(*lines, *([self._text(f"and {hidden} more running", "dim", width)] if hidden else []))

    def _head(self, finished: Sequence[FrozenTrial], running: Sequence[FrozenTrial], eta: str) -> list[str]:
        counts = Counter(trial.state for trial in finished)
        infeasible = sum(trial.state == TrialState.COMPLETE and not feasible(trial) for trial in finished)
        kinds = {"pruned": counts[TrialState.PRUNED], "failed": counts[TrialState.FAIL], "infeasible": infeasible}
        notes = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
        done = f"{len(finished)}/{self._plan.n_trials} done" + (f" ({notes})" if notes else "")
        parts = [f"study {one_line(self._plan.study_name)}", done, f"{len(running)} running", *self._lead(), eta]
        return [part for part in parts if part]

    def _text(self, text: str, style: str = "", width: int | None = None) -> Text:
        """`text`, not parsed as markup, in the console's encoding; cropped to `width` columns if given."""
        encoding = self._console.encoding
        known = text.encode(encoding, "backslashreplace").decode(encoding)
        if width is None:
            return Text(known, style=style)
        return Text(cropped(known, width), style=style, no_wrap=True)


def _order(trial: FrozenTrial) -> tuple[float, int]:
    """Sort key: the time of finishing; trials without one come last."""
    end = timestamp(trial.datetime_complete)
    return (math.inf if end is None else end, trial.number)


def duration(length: float | None) -> str:
    """A duration in seconds as `41 s`, `4 min` or `1 h 20 min`; seconds below two minutes, '' for None."""
    if length is None:
        return ""
    if round(length) < 120:
        return f"{round(length)} s"
    hours, minutes = divmod(round(length / 60), 60)
    if not hours:
        return f"{minutes} min"
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def shown(value: Any, digits: int) -> str:
    """A value as in an override, floats with `digits` significant digits."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, float):
        return one_line(str(value))
    text = f"{value:.{digits}g}"
    # 25000000 is easier to read than 2.5e+07.
    return f"{value:.0f}" if "e+" in text and abs(value) < 1e15 else text


def one_line(text: str) -> str:
    """`text` without line breaks and control characters."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in str(text)).split())


def last_parts(keys: Iterable[str], separator: str) -> dict[str, str]:
    """The last part of each key, or the whole key if the last part is not unique; in the order of `keys`."""
    ends = {key: key.rpartition(separator)[2].lstrip("+") for key in keys}
    counts = Counter(ends.values())
    return {key: end if counts[end] == 1 else key for key, end in ends.items()}


def settings(trial: FrozenTrial, names: Mapping[str, str]) -> list[str]:
    """The trial's parameters, each as `learning_rate=0.0001`, in the order of `names`."""
    params = trial.params
    return [f"{name}={shown(params[key], SETTING_DIGITS)}" for key, name in names.items() if key in params]


def packed(parts: Sequence[str], width: int) -> list[str]:
    """`parts` in order, on as few lines of `width` columns as possible; no part is split."""
    lines: list[str] = []
    for part in parts:
        if lines and cell_len(lines[-1]) + 2 + cell_len(part) <= width:
            lines[-1] += f"  {part}"
        else:
            lines.append(part)
    return lines


def fitted(words: Sequence[str], width: int) -> str:
    """As many `words` as fit in `width` columns, then `...`. No word is cut, since half a number would mislead."""
    for count in range(len(words), 0, -1):
        text = " ".join([*words[:count], *(["..."] if count < len(words) else [])])
        if cell_len(text) <= width:
            return text
    return "..." if words and width >= 3 else ""


def cropped(text: str, width: int) -> str:
    """`text`, cut to `width` columns and ended with `...` if it is wider."""
    return text if cell_len(text) <= width else set_cell_size(text, max(0, width - 3)) + "..."[:width]
