"""Find blank, duplicate and contradictory tweets, and train tweets that are also in val or test."""

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from chirplet.data.base import Examples
from chirplet.data.preparation.normalizers import URL
from chirplet.system.progress import counted

Mask = NDArray[np.bool_]


def text_key(text: str) -> str:
    """A key that is equal for tweets with the same text, and empty for a blank tweet.

    Case, white space and URLs are ignored: Twitter gives each posting a new t.co link, so two postings of the same
    sentence differ in it. A tweet that consists only of a link is identified by it.
    """
    plain = " ".join(text.split()).casefold()
    if "http" not in plain and "www." not in plain:  # saves the search, which takes most of the time
        return plain
    return " ".join(URL.sub(" ", text).split()).casefold() or plain


def flaws(tweets: Examples) -> dict[str, Mask]:
    """Masks of flawed tweets, shape (n,) each.

    `blank`: no text. `duplicate`: an earlier tweet has the same text. `conflict`: tweets with this text have several
    labels.
    """
    positions: dict[str, list[int]] = defaultdict(list)
    for position, text in enumerate(counted(tweets.text, "finding duplicates", len(tweets))):
        positions[text_key(text)].append(position)
    masks = {reason: np.zeros(len(tweets), np.bool_) for reason in ("blank", "duplicate", "conflict")}
    masks["blank"][positions.pop("", [])] = True
    for same in positions.values():
        if len(same) > 1:
            masks["duplicate"][same[1:]] = True
            masks["conflict"][same] = len(set(tweets.label[same].tolist())) > 1
    return masks


def texts(tweets: Examples, mask: Mask) -> int:
    """Number of different texts among the masked tweets."""
    return len({text_key(tweets.text[position]) for position in np.flatnonzero(mask)})


def leaks(train: Examples, held_out: Examples) -> Mask:
    """Mask of train tweets whose text, not blank, is also in `held_out`; shape (len(train),)."""
    known = {text_key(text) for text in held_out.text} - {""}
    return np.array([text_key(text) in known for text in counted(train.text, "finding leaks", len(train))], np.bool_)
