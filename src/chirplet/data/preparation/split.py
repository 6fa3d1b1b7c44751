"""Seeded, stratified splits of positions, by scikit-learn; pure functions."""

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
    """Split positions so that each label keeps its share in both parts; the part has `round(n * fraction)` positions.

    Args:
        label: shape (n,), the label of each position.
        names: the labels by index, for messages.
        fraction: the part's share, 0 <= fraction < 1; of 0 the part is empty.
        seed: of the shuffle.
        key: the setting that `fraction` came from, for messages.

    Returns:
        The positions of the rest and of the part, both ascending.

    Raises:
        DataError: a label has too few positions to stand in both.
    """
    # Imported here, since it takes over a second and most runs find their split in the cache.
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
    """Fold `index` of a stratified k-fold: the positions of the other folds and of this one, both ascending.

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
    for name, have in zip(names, count.tolist(), strict=True):
        if 0 < have < needed:
            raise DataError(
                f"label {name!r} has {have} tweets, too few to stratify with {setting}; should have {needed} or more: "
                "add tweets, merge labels, or give the split its own file"
            )
