"""Find blank, duplicate and contradictory tweets, and train tweets that are also in val or test."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from chirplet.data.base import Examples

Mask = NDArray[np.bool_]
Keys = Mapping[str, str]
"""Each text's `text_key`."""


def flaws(tweets: Examples, keys: Keys) -> dict[str, Mask]:
    """Masks of flawed tweets, shape (n,) each.

    `blank`: no text. `duplicate`: an earlier tweet has the same text. `conflict`: tweets with this text have several
    labels.
    """
    numbers: dict[str, int] = {"": 0}
    number = np.array([numbers.setdefault(keys[text], len(numbers)) for text in tweets.text], np.int64)
    blank = number == 0
    first = np.full(len(numbers), len(tweets))
    np.minimum.at(first, number, np.arange(len(tweets)))
    lowest, highest = np.full(len(numbers), np.iinfo(np.int64).max), np.full(len(numbers), -1)
    np.minimum.at(lowest, number, tweets.label)
    np.maximum.at(highest, number, tweets.label)
    return {
        "blank": blank,
        "duplicate": ~blank & (np.arange(len(tweets)) > first[number]),
        "conflict": ~blank & (lowest < highest)[number],
    }


def texts(tweets: Examples, mask: Mask, keys: Keys) -> int:
    """Number of different texts among the masked tweets."""
    return len({keys[tweets.text[position]] for position in np.flatnonzero(mask)})


def leaks(train: Examples, held_out: Examples, keys: Keys) -> Mask:
    """Mask of train tweets whose text, not blank, is also in `held_out`; shape (len(train),)."""
    known = {keys[text] for text in held_out.text} - {""}
    return np.array([keys[text] in known for text in train.text], np.bool_)
