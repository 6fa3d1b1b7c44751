"""Finds blank, repeated and contradictory tweets, and those of train that also stand in val or test."""

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from chirplet.data.base import Examples
from chirplet.data.preparation.cleaning import URL

Mask = NDArray[np.bool_]


def text_key(text: str) -> str:
    """Two tweets with the same key say the same; the key of a blank tweet is empty.

    Case, white space and URLs make no difference: Twitter gives each posting its own t.co link, so one sentence
    posted twice differs there. A tweet that is only a link is identified by the link.
    """
    return " ".join(URL.sub(" ", text).split()).casefold() or " ".join(text.split()).casefold()


def flaws(tweets: Examples) -> dict[str, Mask]:
    """Which tweets are flawed among themselves; shape (n,) each.

    `blank`: no text. `duplicate`: an earlier tweet has the same text. `conflict`: tweets with this text have several
    labels.
    """
    places: dict[str, list[int]] = defaultdict(list)
    for place, text in enumerate(tweets.text):
        places[text_key(text)].append(place)
    masks = {reason: np.zeros(len(tweets), np.bool_) for reason in ("blank", "duplicate", "conflict")}
    masks["blank"][places.pop("", [])] = True
    for same in places.values():
        if len(same) > 1:
            masks["duplicate"][same[1:]] = True
            masks["conflict"][same] = len(set(tweets.label[same].tolist())) > 1
    return masks


def texts(tweets: Examples, mask: Mask) -> int:
    """Number of different texts among the masked tweets."""
    return len({text_key(tweets.text[place]) for place in np.flatnonzero(mask)})


def leaks(train: Examples, held_out: Examples) -> Mask:
    """Which train tweets have a text that also stands, not blank, in `held_out`; shape (len(train),)."""
    known = {text_key(text) for text in held_out.text} - {""}
    return np.array([text_key(text) in known for text in train.text], np.bool_)
