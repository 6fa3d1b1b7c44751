"""Parts of a set of texts that are looked at on their own, and the texts on which models part ways."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from chirplet.data.preparation.cleaning import URL
from chirplet.data.preparation.exploration import HASHTAG, MENTION

Mask = NDArray[np.bool_]

CHARACTERS = (0, 70, 140, 210, 280)
TOKENS = (0, 16, 32, 48, 64, 96)
"""Where each part begins; the last has no end."""


def slices(texts: Sequence[str], tokens: NDArray[np.int64]) -> dict[str, dict[str, Mask]]:
    """Masks over the texts, shape (n,), by kind and by the name of the part; none is empty.

    Args:
        texts: repaired texts, not cleaned.
        tokens: how many tokens each has, shape (n,).
    """
    characters = np.array([len(text) for text in texts])
    found = {"characters": _ranges(characters, CHARACTERS), "tokens": _ranges(tokens, TOKENS)}
    for what, pattern in (("hashtags", HASHTAG), ("URLs", URL), ("mentions", MENTION)):
        has = np.array([pattern.search(text) is not None for text in texts], np.bool_)
        found[what] = {f"with {what}": has, f"without {what}": ~has}
    return {what: {name: mask for name, mask in parts.items() if mask.any()} for what, parts in found.items()}


def _ranges(values: NDArray[np.int64], starts: Sequence[int]) -> dict[str, Mask]:
    ends = [*starts[1:], None]
    return {
        f"{start} or more" if end is None else f"{start} to {end - 1}": (values >= start)
        & (values < (np.inf if end is None else end))
        for start, end in zip(starts, ends, strict=True)
    }


def most_divided(labels: Sequence[Sequence[str]], right: Sequence[Mask], count: int) -> list[int]:
    """Positions of the texts on which models differ most, by how many are right and by how many labels they gave.

    Args:
        labels: the n labels that each model gave.
        right: which of them are right, shape (n,) of each model.
        count: of positions, at most; texts on which all agree are never among them.
    """
    share = np.mean(right, axis=0)
    kinds = np.array([len(set(column)) for column in zip(*labels, strict=True)])
    divided = np.flatnonzero(kinds > 1)
    order = sorted(divided.tolist(), key=lambda i: (abs(share[i] - 0.5), -kinds[i], i))
    return order[:count]
