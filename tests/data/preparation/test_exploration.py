"""Counts worked out by hand."""

import numpy as np
import pytest

from chirplet.data.base import Corpus, DataReport, Examples
from chirplet.data.preparation.exploration import Lengths, count_days, explore

LABELS = ("bad", "good")


def tweets(*rows: tuple[str, int, str | None]) -> Examples:
    texts, labels, dates = zip(*rows, strict=True) if rows else ((), (), ())
    ids = [f"t:{i}" for i in range(len(rows))]
    return Examples(ids, list(texts), np.array(labels, dtype=np.int64), list(dates))


@pytest.fixture
def corpus() -> Corpus:
    return Corpus(
        name="made_up",
        labels=LABELS,
        train=tweets(
            ("#Rain again, @Bob", 0, "2020-03-01"),
            ("#rain #rain #1 #Füße a@b.com", 1, "2020-03-03T23:59:00+02:00"),
            ("sun", 1, None),
        ),
        val=tweets(("@bob @a_very_long_user_name #rain", 0, "2020-03-01")),
        test=tweets(),
        fingerprint="ab" * 32,
        report=DataReport(found={"duplicate": 2}),
    )


def test_everything_is_counted(corpus):
    lengths = {"train": np.array([4, 9, 3]), "val": np.array([12]), "test": np.array([], dtype=np.int64)}
    unknown = {"train": 0.25, "val": 0.0, "test": 0.0}
    seen = explore(corpus, lengths, unknown, max_length=8, top=2, samples_per_class=1)
    assert seen.sizes == {"train": 3, "val": 1}, "a split without tweets has no numbers"
    assert {split: counts.tolist() for split, counts in seen.classes.items()} == {"train": [1, 2], "val": [1, 0]}
    assert seen.characters["train"].values.tolist() == [17, 28, 3]
    assert seen.tokens["train"].share_above(8) == pytest.approx(1 / 3)
    assert seen.unknown == {"train": 0.25, "val": 0.0}
    # Tweets, not occurrences; a number alone is no tag, an address and an over-long name are no mentions.
    assert seen.hashtags == [("#rain", 3), ("#füße", 1)]
    assert seen.mentions == [("@bob", 2)]
    assert seen.samples == [("bad", "#Rain again, @Bob"), ("good", "#rain #rain #1 #Füße a@b.com")]
    assert seen.days is not None
    assert [str(day) for day in seen.days.days] == ["2020-03-01", "2020-03-02", "2020-03-03"]
    assert {split: counts.tolist() for split, counts in seen.days.counts.items()} == {
        "train": [1, 0, 1],
        "val": [1, 0, 0],
    }


def test_no_dates_no_days():
    assert count_days({"train": [None, None], "val": []}) is None


def test_quantiles_are_interpolated():
    lengths = Lengths(np.arange(1, 101))
    # numpy's linear rule: quantile q of 1 … 100 is 1 + 99 q.
    assert lengths.quantiles == pytest.approx([5.95, 50.5, 95.05, 99.01])
    assert (lengths.mean, lengths.longest) == (50.5, 100)
    assert lengths.share_above(100) == 0 and lengths.share_above(99) == 0.01
