"""Slices of a set of texts, and the texts on which models disagree."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from chirplet.data.preparation.exploration import HASHTAG, MENTION
from chirplet.data.preparation.normalizers import URL

Mask = NDArray[np.bool_]

CHARACTERS = (0, 70, 140, 210, 280)
TOKENS = (0, 16, 32, 48, 64, 96)
"""Where each range begins; the last is open-ended."""


def slices(texts: Sequence[str], tokens: NDArray[np.int64]) -> dict[str, dict[str, Mask]]:
    """Masks over the texts, shape (n,), by kind of slice and by the slice's name; empty slices are left out.

    Args:
        texts: texts after repair and before cleaning.
        tokens: number of tokens of each text, shape (n,).
    """
    characters = np.array([len(text) for text in texts])
    masks = {"characters": _ranges(characters, CHARACTERS), "tokens": _ranges(tokens, TOKENS)}
    for what, pattern in (("hashtags", HASHTAG), ("URLs", URL), ("mentions", MENTION)):
        has = np.array([pattern.search(text) is not None for text in texts], np.bool_)
        masks[what] = {f"with {what}": has, f"without {what}": ~has}
    return {what: {name: mask for name, mask in parts.items() if mask.any()} for what, parts in masks.items()}


def _ranges(values: NDArray[np.int64], starts: Sequence[int]) -> dict[str, Mask]:
    ends = [*starts[1:], None]
    return {
        f"{start} or more" if end is None else f"{start} to {end - 1}": (values >= start)
        & (values < (np.inf if end is None else end))
        for start, end in zip(starts, ends, strict=True)
    }


def most_divided(labels: Sequence[Sequence[str]], right: Sequence[Mask], count: int) -> list[int]:
    """Positions of the texts on which models disagree most: half of them correct first, then most distinct labels.

    Args:
        labels: for each model, its n predicted labels.
        right: for each model, which of them are correct, shape (n,).
        count: maximum number of positions; texts with one label from all models are never included.
    """
    share = np.mean(right, axis=0)
    kinds = np.array([len(set(column)) for column in zip(*labels, strict=True)])
    divided = np.flatnonzero(kinds > 1)
    order = sorted(divided.tolist(), key=lambda i: (abs(share[i] - 0.5), -kinds[i], i))
    return order[:count]
