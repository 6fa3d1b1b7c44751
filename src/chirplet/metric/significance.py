"""Significance of the accuracy difference between two classifiers on the same texts; numpy only."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chirplet.config.schema import Settings

LEVEL = 0.95
RESAMPLES = 10_000
"""Level and number of resamples of reported intervals."""

Right = NDArray[np.bool_]
"""Which texts a classifier labeled correctly, shape (n,)."""

Share = NDArray[np.float64]
"""The share of several classifiers, for example one per seed, that labeled each text correctly; shape (n,)."""


class Difference(Settings):
    """A difference of two accuracies.

    `low` to `high` is its confidence interval at `level`, `mcnemar_p` the two-sided p-value of McNemar's test.
    """

    value: float
    low: float
    high: float
    level: float
    mcnemar_p: float


@dataclass(frozen=True)
class _Discordant:
    """Numbers of texts that only `first` and only `second` labeled correctly, of `n`."""

    first: int
    second: int
    n: int


def accuracy_difference(first: Right, second: Right, *, level: float, resamples: int, seed: int) -> Difference:
    """The accuracy of `first` minus that of `second`, with its paired bootstrap interval and McNemar's p.

    Raises:
        ValueError: the numbers of texts differ, or are 0.
    """
    if first.shape != second.shape or len(first) == 0:
        raise ValueError(f"got {len(first)} and {len(second)} texts, should be the same ones")
    low, high = paired_bootstrap(first, second, level=level, resamples=resamples, seed=seed)
    counts = _discordant(first, second)
    value = (counts.first - counts.second) / counts.n
    return Difference(value=value, low=low, high=high, level=level, mcnemar_p=mcnemar_p(first, second))


def paired_bootstrap(
    first: Right | Share, second: Right | Share, *, level: float, resamples: int, seed: int
) -> tuple[float, float]:
    """The paired bootstrap percentile interval of the accuracy difference; texts are resampled.

    Efron 1979, "Bootstrap methods: another look at the jackknife". A text's difference takes few values (1, 0 or -1
    for single classifiers), so a resample is determined by how often it draws each value. These counts are multinomial
    and are drawn directly.
    """
    values, counts = np.unique(first.astype(np.float64) - second.astype(np.float64), return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(first), counts / len(first), size=resamples)
    low, high = np.quantile(drawn @ values / len(first), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mcnemar_p(first: Right, second: Right) -> float:
    """The two-sided p-value of McNemar's exact test.

    McNemar 1947, in its binomial form: under the null hypothesis, each of the b + c texts that only one classifier
    labeled correctly is either's with probability 1/2.
    """
    counts = _discordant(first, second)
    total = counts.first + counts.second
    tail, term = 0, 1  # binomial coefficients, each from the one before
    for k in range(min(counts.first, counts.second) + 1):
        tail += term
        term = term * (total - k) // (k + 1)
    # Integers until the division: 2**total overflows a float for a thousand texts.
    return min(1.0, float(2 * tail / 2**total))


def _discordant(first: Right, second: Right) -> _Discordant:
    return _Discordant(int((first & ~second).sum()), int((second & ~first).sum()), len(first))
