"""Seeded, stratified splits with scikit-learn."""

import math
from itertools import islice

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int64]


def carve(label: NDArray[np.int64], fraction: float, seed: int, keep: int = 1) -> tuple[Positions, Positions]:
    """Take a stratified part of `round(n * fraction)` positions.

    A label whose share is less than one position still gives one, so that both parts have it; the part may then be
    larger.

    Args:
        label: the label of each position, shape (n,).
        fraction: the part's share, 0 <= fraction < 1; with 0 the part is empty.
        seed: seed of the shuffle.
        keep: positions of each label that the rest should have at least.

    Returns:
        The positions of the rest and of the part, both ascending.
    """
    # The import takes over a second, and most runs have their split in the cache.
    from sklearn.model_selection import train_test_split

    everything = np.arange(len(label))
    if fraction == 0.0:
        return everything, np.empty(0, np.int64)
    enough = max(math.ceil(1 / min(fraction, 1 - fraction) - 1e-9), math.ceil(keep / (1 - fraction) - 1e-9))
    common = np.bincount(label)[label] >= enough
    parts = []
    if common.any():
        size = round(int(common.sum()) * fraction)
        pool = everything[common]
        parts.append(train_test_split(pool, test_size=size, stratify=label[common], random_state=seed)[1])
    for rare in np.unique(label[~common]):
        pool = everything[label == rare]
        size = min(max(1, round(len(pool) * fraction)), len(pool) - keep)
        parts.append(np.random.default_rng((seed, rare)).choice(pool, max(size, 0), replace=False))
    part = np.sort(np.concatenate(parts))
    return np.setdiff1d(everything, part), part


def fold(label: NDArray[np.int64], folds: int, index: int, seed: int) -> tuple[Positions, Positions]:
    """Stratified k-fold: the positions of all folds but `index`, and of fold `index`, both ascending.

    Each label should have `folds` positions or more.
    """
    from sklearn.model_selection import StratifiedKFold

    parts = StratifiedKFold(folds, shuffle=True, random_state=seed).split(label, label)
    rest, part = next(islice(parts, index, None))
    return rest, part
