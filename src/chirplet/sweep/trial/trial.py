"""The trial that this process is running: where a training run reports how it goes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_current: list["RunningTrial | None"] = []


class Pruned(Exception):
    """The pruner ended this trial: it will not be among the best."""


class LeaseLost(Exception):
    """Another worker took this trial over while this one gave no sign of life."""


@dataclass(frozen=True)
class RunningTrial:
    """A trial being run; `report(value, step)` tells the study and raises `Pruned` when the trial should end."""

    number: int
    report: Callable[[float, int], None]


def current() -> RunningTrial | None:
    """The trial being run in this process, or None outside a sweep."""
    return _current[-1] if _current else None


@contextmanager
def running(trial: RunningTrial) -> Iterator[None]:
    """Make `trial` the current one within this block."""
    _current.append(trial)
    try:
        yield
    finally:
        _current.pop()


@contextmanager
def unreported() -> Iterator[None]:
    """Within this block there is no current trial: what is trained there is not what a trial is about."""
    _current.append(None)
    try:
        yield
    finally:
        _current.pop()
