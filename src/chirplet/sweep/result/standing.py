"""Which trials lead, what they took, and how long the rest will take."""

import heapq
import math
from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime
from statistics import fmean

from optuna.trial import FrozenTrial, TrialState

from chirplet.sweep.plan.plan import Direction

LEADERS = 3
"""Trials kept in order with one objective."""


class Standing:
    """The best trials so far, each with its losses: with one objective the best first, with several the Pareto front.

    Losses are the values with the maximised ones negated, so that less is better in all of them.
    """

    def __init__(self, directions: Sequence[Direction]) -> None:
        self.signs = [1.0 if direction == "minimize" else -1.0 for direction in directions]
        self.leaders: list[tuple[tuple[float, ...], FrozenTrial]] = []

    def add(self, trial: FrozenTrial) -> bool:
        """Rank `trial`; whether it is the best so far, or on the front. Who comes second with equal values is not."""
        losses = self._losses(trial)
        if losses is None:
            return False
        if len(self.signs) == 1:
            place = bisect_right([leader for leader, _ in self.leaders], losses)
            self.leaders.insert(place, (losses, trial))
            del self.leaders[LEADERS:]
            return place == 0
        if any(dominates(leader, losses) for leader, _ in self.leaders):
            return False
        self.leaders = [other for other in self.leaders if not dominates(losses, other[0])]
        self.leaders.insert(bisect_right([leader for leader, _ in self.leaders], losses), (losses, trial))
        return True

    def _losses(self, trial: FrozenTrial) -> tuple[float, ...] | None:
        values = trial.values
        if trial.state != TrialState.COMPLETE or not values or len(values) != len(self.signs) or not feasible(trial):
            return None
        losses = tuple(sign * value for sign, value in zip(self.signs, values, strict=True))
        return None if any(map(math.isnan, losses)) else losses


def dominates(losses: Sequence[float], others: Sequence[float]) -> bool:
    """Whether `losses` are nowhere more than `others`, and somewhere less."""
    return losses != others and all(loss <= other for loss, other in zip(losses, others, strict=True))


def feasible(trial: FrozenTrial) -> bool:
    """Whether every constraint holds; one that is NaN does not."""
    return all(excess <= 0 for excess in trial.constraints.values())


def estimate(left: int, took: Sequence[float], elapsed: Sequence[float], workers: int) -> float | None:
    """Seconds until `left` more trials are done; None before one has finished and when none is left.

    `took` are the seconds of finished trials, `elapsed` those that each running trial, of the `left` ones, has had.
    Each free worker takes the next trial, and new ones take the mean. What a running trial still needs is judged by
    those that took longer than it has by now: among pruned trials, one that got far is not nearly over.
    """
    if left <= 0 or not took:
        return None
    mean = fmean(took)
    free = [_rest(seconds, took, mean) for seconds in elapsed]
    free += [0.0] * (workers - len(free))
    heapq.heapify(free)
    for _ in range(left - len(elapsed)):
        heapq.heapreplace(free, free[0] + mean)
    return max(free)


def _rest(elapsed: float, took: Sequence[float], mean: float) -> float:
    longer = [length - elapsed for length in took if length > elapsed]
    # No trial was ever this long: a tenth more keeps the estimate off zero; the mean caps it for one long dead.
    return fmean(longer) if longer else min(elapsed / 10, mean)


def seconds(trial: FrozenTrial) -> float | None:
    """What a finished trial took: as it says itself, else from its dates; None where neither is known."""
    own = trial.user_attrs.get("seconds")
    if isinstance(own, int | float) and math.isfinite(own) and own >= 0:
        return float(own)
    start, end = timestamp(trial.datetime_start), timestamp(trial.datetime_complete)
    return None if start is None or end is None else max(0.0, end - start)


def timestamp(moment: datetime | None) -> float | None:
    """Seconds since the epoch, or None where there is no such moment or it cannot be told so."""
    try:
        return None if moment is None else moment.timestamp()
    except (ValueError, OverflowError, OSError):
        return None
