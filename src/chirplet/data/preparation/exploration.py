"""Statistics of a corpus: classes, lengths, days, hashtags and mentions."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chirplet.data.base import SPLITS, Corpus, DataReport, Examples, Split

QUANTILES = (0.05, 0.50, 0.95, 0.99)

# Twitter's rules: a hashtag contains a letter, a user name has at most 15 ASCII characters, and neither starts inside a
# word (as in an e-mail address).
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
        """The quantiles `QUANTILES`, linearly interpolated."""
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
    """Tweets per day: all days from the first to the last, shape (days,), and their counts by split."""

    days: NDArray[np.datetime64]
    counts: dict[Split, NDArray[np.int64]]


@dataclass(frozen=True)
class Exploration:
    """Statistics of a corpus, for splits that are not empty.

    `classes[split][i]` is the number of tweets labeled `labels[i]`. `tokens` are lengths before truncation to
    `max_length`, with special tokens; `unknown` is the share of tokens that the tokenizer does not know. `days` is None
    if no tweet has a date. `hashtags` and `mentions` are in lower case, each with the number of tweets that contain it,
    most frequent first. `samples` are (label, text) of train.
    """

    name: str
    fingerprint: str
    labels: tuple[str, ...]
    classes: dict[Split, NDArray[np.int64]]
    characters: dict[Split, Lengths]
    tokens: dict[Split, Lengths]
    unknown: dict[Split, float]
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
    unknown: Mapping[Split, float],
    max_length: int,
    top: int,
    samples_per_class: int,
) -> Exploration:
    """Compute the statistics of a corpus.

    Args:
        corpus: the corpus.
        token_lengths: by split, the number of tokens of each tweet before truncation, shape (n,).
        unknown: by split, the share of tokens that the tokenizer does not know.
        max_length: maximum number of tokens of a tweet.
        top: number of hashtags and mentions.
        samples_per_class: number of sample tweets per class.
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
        unknown={split: unknown[split] for split in splits},
        max_length=max_length,
        days=count_days({split: tweets.date for split, tweets in splits.items()}),
        hashtags=count_names(HASHTAG, texts, top),
        mentions=count_names(MENTION, texts, top),
        samples=first_of_each(corpus.train, corpus.labels, samples_per_class),
        report=corpus.report,
    )


def count_days(dates: Mapping[Split, list[str | None]]) -> Days | None:
    """Tweets per day from ISO 8601 dates or times; None if there are none."""
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
    """The `top` most frequent matches in lower case, with the number of texts that contain each; ties by name."""
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
