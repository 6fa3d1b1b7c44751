"""How sure a difference between two classifiers is that labeled the same texts; numpy alone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chirplet.config.schema import Settings

LEVEL = 0.95
RESAMPLES = 10_000
"""What intervals are reported with."""

Right = NDArray[np.bool_]
"""Which texts a classifier labeled rightly, shape (n,)."""

Share = NDArray[np.float64]
"""How many of several classifiers, such as one of each seed, labeled a text rightly, as a share; shape (n,)."""


class Difference(Settings):
    """`value` is accuracy minus accuracy, `low` to `high` its interval at `level`, `mcnemar_p` a two-sided p-value."""

    value: float
    low: float
    high: float
    level: float
    mcnemar_p: float


@dataclass(frozen=True)
class _Discordant:
    """Texts that `first` alone and `second` alone labeled rightly, of `n`."""

    first: int
    second: int
    n: int


def accuracy_difference(first: Right, second: Right, *, level: float, resamples: int, seed: int) -> Difference:
    """The accuracy of `first` minus that of `second`, with its paired bootstrap interval and McNemar's p.

    Raises:
        ValueError: they are not of the same texts, or of none.
    """
    if first.shape != second.shape or len(first) == 0:
        raise ValueError(f"got {len(first)} and {len(second)} texts, should be the same ones")
    low, high = paired_bootstrap(first, second, level=level, resamples=resamples, seed=seed)
    found = _discordant(first, second)
    value = (found.first - found.second) / found.n
    return Difference(value=value, low=low, high=high, level=level, mcnemar_p=mcnemar_p(first, second))


def paired_bootstrap(
    first: Right | Share, second: Right | Share, *, level: float, resamples: int, seed: int
) -> tuple[float, float]:
    """The percentile interval of the accuracy difference when texts are drawn again with replacement, pair by pair.

    Efron 1979, "Bootstrap methods: another look at the jackknife". A text's difference takes few values (1, 0 or -1
    where there is one classifier on each side), so all that a resample amounts to is how often it draws each, and
    those counts are multinomial: they are drawn at once.
    """
    values, counts = np.unique(first.astype(np.float64) - second.astype(np.float64), return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(first), counts / len(first), size=resamples)
    low, high = np.quantile(drawn @ values / len(first), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mcnemar_p(first: Right, second: Right) -> float:
    """McNemar's exact test: how likely a split of the discordant texts at least so uneven is by chance, two-sided.

    McNemar 1947; the binomial form: of b + c texts that one alone labeled rightly, each would be either's with
    probability 1/2.
    """
    found = _discordant(first, second)
    total = found.first + found.second
    tail, term = 0, 1  # binomial coefficients, each from the one before
    for k in range(min(found.first, found.second) + 1):
        tail += term
        term = term * (total - k) // (k + 1)
    # Whole numbers to the last: 2**total alone is beyond the range of floats at a thousand texts.
    return min(1.0, float(2 * tail / 2**total))


def _discordant(first: Right, second: Right) -> _Discordant:
    return _Discordant(int((first & ~second).sum()), int((second & ~first).sum()), len(first))
