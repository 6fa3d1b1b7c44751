"""What is in a corpus, counted: classes, lengths, days, names."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chirplet.data.base import SPLITS, Corpus, DataReport, Examples, Split

QUANTILES = (0.05, 0.50, 0.95, 0.99)

# Twitter's own rules: a hashtag needs a letter, a user name has at most 15 ASCII characters, and neither starts
# inside a word, as it would in an e-mail address.
HASHTAG = re.compile(r"(?<!\w)#(?=\w*[^\W\d_])\w+")
MENTION = re.compile(r"(?<!\w)@[A-Za-z0-9_]{1,15}(?!\w)")


@dataclass(frozen=True)
class Lengths:
    """Lengths of n tweets, in characters or tokens; `values` has shape (n,), n ≥ 1."""

    values: NDArray[np.int64]

    @property
    def mean(self) -> float:
        """The mean length."""
        return float(self.values.mean())

    @property
    def quantiles(self) -> list[float]:
        """The quantiles of `QUANTILES`, between two lengths by linear interpolation."""
        return [float(value) for value in np.quantile(self.values, QUANTILES)]

    @property
    def longest(self) -> int:
        """The largest length."""
        return int(self.values.max())

    def share_above(self, limit: int) -> float:
        """The share of tweets that are longer than `limit`."""
        return float((self.values > limit).mean())


@dataclass(frozen=True)
class Days:
    """Tweets per day: every day from the first to the last, shape (days,), and a count for each, by split."""

    days: NDArray[np.datetime64]
    counts: dict[Split, NDArray[np.int64]]


@dataclass(frozen=True)
class Exploration:
    """A corpus in numbers; only splits that have tweets appear.

    `classes[split][i]` is the number of tweets labeled `labels[i]`. `tokens` are lengths before the cut at
    `max_length`, special tokens included. `days` is None where no tweet has a date. `hashtags` and `mentions` are
    folded to lower case, each with the number of tweets that have it, most frequent first. `samples` are
    (label, text) of train.
    """

    name: str
    fingerprint: str
    labels: tuple[str, ...]
    classes: dict[Split, NDArray[np.int64]]
    characters: dict[Split, Lengths]
    tokens: dict[Split, Lengths]
    max_length: int
    days: Days | None
    hashtags: list[tuple[str, int]]
    mentions: list[tuple[str, int]]
    samples: list[tuple[str, str]]
    report: DataReport

    @property
    def sizes(self) -> dict[Split, int]:
        """Number of tweets in each split."""
        return {split: int(counts.sum()) for split, counts in self.classes.items()}


def explore(
    corpus: Corpus,
    token_lengths: Mapping[Split, NDArray[np.int64]],
    max_length: int,
    top: int,
    samples_per_class: int,
) -> Exploration:
    """Count everything in a corpus.

    Args:
        corpus: what to count.
        token_lengths: tokens of each tweet of each split, uncut, shape (n,).
        max_length: tokens beyond which a tweet is cut.
        top: how many hashtags and mentions to keep.
        samples_per_class: how many tweets of each class to keep.
    """
    splits = {split: corpus.split(split) for split in SPLITS if len(corpus.split(split)) > 0}
    texts = [text for tweets in splits.values() for text in tweets.text]
    return Exploration(
        name=corpus.name,
        fingerprint=corpus.fingerprint,
        labels=corpus.labels,
        classes={split: np.bincount(tweets.label, minlength=len(corpus.labels)) for split, tweets in splits.items()},
        characters={split: Lengths(np.array([len(text) for text in tweets.text])) for split, tweets in splits.items()},
        tokens={split: Lengths(token_lengths[split]) for split in splits},
        max_length=max_length,
        days=count_days({split: tweets.date for split, tweets in splits.items()}),
        hashtags=count_names(HASHTAG, texts, top),
        mentions=count_names(MENTION, texts, top),
        samples=first_of_each(corpus.train, corpus.labels, samples_per_class),
        report=corpus.report,
    )


def count_days(dates: Mapping[Split, list[str | None]]) -> Days | None:
    """Tweets per day from ISO 8601 dates or times; None where there is not one."""
    days = {
        split: np.array([date[:10] for date in column if date], dtype="datetime64[D]")
        for split, column in dates.items()
    }
    known = np.concatenate(list(days.values()))
    if len(known) == 0:
        return None
    first = known.min()
    axis = np.arange(first, known.max() + 1)
    counts = {split: np.bincount((seen - first).astype(int), minlength=len(axis)) for split, seen in days.items()}
    return Days(axis, counts)


def count_names(pattern: re.Pattern[str], texts: Iterable[str], top: int) -> list[tuple[str, int]]:
    """The `top` most frequent matches, lower case, with the number of texts that have each; ties by name."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update({name.lower() for name in pattern.findall(text)})
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:top]


def first_of_each(tweets: Examples, labels: tuple[str, ...], count: int) -> list[tuple[str, str]]:
    """The first `count` tweets of each class, as (label, text), in the order of the labels."""
    return [
        (label, tweets.text[row])
        for i, label in enumerate(labels)
        for row in np.flatnonzero(tweets.label == i)[:count].tolist()
    ]
