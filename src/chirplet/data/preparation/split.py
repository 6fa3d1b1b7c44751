"""Seeded, stratified splits with scikit-learn."""

import math
from collections.abc import Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from chirplet.system.error import DataError

Positions = NDArray[np.int64]


def carve(
    label: NDArray[np.int64], names: Sequence[str], fraction: float, seed: int, key: str
) -> tuple[Positions, Positions]:
    """Take a stratified part of `round(n * fraction)` positions.

    Args:
        label: the label of each position, shape (n,).
        names: the labels by index, for messages.
        fraction: the part's share, 0 <= fraction < 1; with 0 the part is empty.
        seed: seed of the shuffle.
        key: the setting with the value `fraction`, for messages.

    Returns:
        The positions of the rest and of the part, both ascending.

    Raises:
        DataError: a label has too few positions for both.
    """
    # The import takes over a second, and most runs have their split in the cache.
    from sklearn.model_selection import train_test_split

    everything = np.arange(len(label))
    if fraction == 0.0:
        return everything, np.empty(0, np.int64)
    needed = math.ceil(1 / min(fraction, 1 - fraction) - 1e-9)
    _check(label, names, needed, f"{key}={fraction:g}")
    size = round(len(label) * fraction)
    rest, part = train_test_split(everything, test_size=size, stratify=label, random_state=seed)
    return np.sort(rest), np.sort(part)


def fold(
    label: NDArray[np.int64], names: Sequence[str], folds: int, index: int, seed: int
) -> tuple[Positions, Positions]:
    """Stratified k-fold: the positions of all folds but `index`, and of fold `index`, both ascending.

    Raises:
        DataError: a label has fewer positions than there are folds.
    """
    from sklearn.model_selection import StratifiedKFold

    _check(label, names, folds, f"folds={folds}")
    parts = StratifiedKFold(folds, shuffle=True, random_state=seed).split(label, label)
    rest, part = next(islice(parts, index, None))
    return rest, part


def _check(label: NDArray[np.int64], names: Sequence[str], needed: int, setting: str) -> None:
    count = np.bincount(label, minlength=len(names))
    for name, size in zip(names, count.tolist(), strict=True):
        if 0 < size < needed:
            raise DataError(
                f"label {name!r} has {size} tweets, should have {needed} or more to stratify with {setting}; "
                "add tweets, merge labels, or give a file for the split"
            )
