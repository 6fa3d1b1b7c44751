"""The axes of parameters and objectives: positions and tick labels."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.ticker import MaxNLocator
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from chirplet.sweep.result.results import parameter_text


@dataclass(frozen=True)
class Scale:
    """An axis: `position` maps a value to it, `low` and `high` are its ends, `ticks` maps positions to labels."""

    position: Callable[[Any], float]
    low: float
    high: float
    ticks: dict[float, str]

    def height(self, value: Any) -> float:
        """The position of a value as a fraction of the axis, 0 to 1."""
        return (self.position(value) - self.low) / (self.high - self.low)


def parameter_scale(distributions: Sequence[BaseDistribution]) -> Scale:
    """The axis of a parameter, over all its distributions, which are of the same class."""
    first = distributions[0]
    if isinstance(first, CategoricalDistribution):
        texts = cut([parameter_text(choice) for choice in first.choices])
        step = math.ceil(len(texts) / 12)
        ticks = {float(index): text for index, text in enumerate(texts) if index % step == 0}
        return Scale(first.to_internal_repr, -0.5, len(texts) - 0.5, ticks)
    ranges = [part for part in distributions if isinstance(part, FloatDistribution | IntDistribution)]
    low, high = min(part.low for part in ranges), max(part.high for part in ranges)
    if ranges[0].log:
        return log_scale(low, high)
    return linear_scale(low, high, whole=isinstance(first, IntDistribution))


def linear_scale(low: float, high: float, whole: bool = False) -> Scale:
    """An axis from `low` to `high` with about five ticks, at whole numbers if `whole`."""
    if low == high:
        return Scale(float, low - 0.5, high + 0.5, {float(low): f"{low:,.10g}"})
    locator = MaxNLocator(nbins=5, integer=whole, steps=[1, 2, 2.5, 5, 10])
    ticks = [float(tick) for tick in locator.tick_values(low, high) if low <= tick <= high]
    return Scale(float, low, high, {tick: f"{tick:,.10g}" for tick in ticks})


def log_scale(low: float, high: float) -> Scale:
    """A logarithmic axis from `low` to `high`, with ticks at powers of ten, or at 1, 2 and 5 times those."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [tick for tick in (float(f"1e{exponent}") for exponent in exponents) if low <= tick <= high]
    if len(ticks) < 3:
        ticks = [float(f"{digit}e{exponent}") for exponent in exponents for digit in (1, 2, 5)]
        ticks = [tick for tick in ticks if low <= tick <= high]
    ticks = ticks[:: math.ceil(len(ticks) / 6)] if len(ticks) > 1 else sorted({low, high})
    room = 0.5 if low == high else 0.0
    labeled = {math.log10(tick): f"{tick:,.10g}" for tick in ticks}
    return Scale(math.log10, math.log10(low) - room, math.log10(high) + room, labeled)


def cut(texts: Sequence[str], length: int = 18) -> list[str]:
    """The texts shortened to `length` characters: their ends, or their beginnings if the ends are not unique."""
    ends = [text if len(text) <= length else f"…{text[1 - length :]}" for text in texts]
    beginnings = [text if len(text) <= length else f"{text[: length - 1]}…" for text in texts]
    return next((short for short in (ends, beginnings) if len(set(short)) == len(texts)), list(texts))
