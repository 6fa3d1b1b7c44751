"""What every source promises; a new one adds its line to `make_any` and its name here."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from chirplet.data.base import SPLITS, Corpus, Source
from chirplet.data.preparation.prepare import build, prepare

NAMES = ("vader_tweets", "corona_nlp", "tweet_eval", "csv")
Make = Callable[..., Source]
pytestmark = pytest.mark.parametrize("name", NAMES)


def same(one: Corpus, other: Corpus) -> bool:
    return (one.name, one.labels, one.fingerprint, one.report) == (
        other.name,
        other.labels,
        other.fingerprint,
        other.report,
    ) and all(
        one.split(split).text == other.split(split).text
        and one.split(split).row_id == other.split(split).row_id
        and one.split(split).date == other.split(split).date
        and np.array_equal(one.split(split).label, other.split(split).label)
        for split in SPLITS
    )


def test_corpus_is_sound(name: str, make_any: Make, tmp_path: Path) -> None:
    corpus = prepare(make_any(name), tmp_path / "cache")
    assert corpus.name == name
    assert len(set(corpus.labels)) == len(corpus.labels) >= 2
    assert all(corpus.labels)
    ids = [row for split in SPLITS for row in corpus.split(split).row_id]
    assert len(set(ids)) == len(ids)
    for split in SPLITS:
        tweets = corpus.split(split)
        assert len(tweets) > 0
        assert len(tweets.row_id) == len(tweets.text) == len(tweets.label) == len(tweets.date)
        assert tweets.label.dtype == np.int64
        assert 0 <= tweets.label.min() <= tweets.label.max() < len(corpus.labels)
    assert set(corpus.train.label.tolist()) == set(range(len(corpus.labels)))


def test_rows_are_dropped_from_train_only(name: str, make_any: Make, tmp_path: Path) -> None:
    dropping = prepare(make_any(name), tmp_path / "cache")
    keeping = prepare(make_any(name, duplicates="keep", conflicts="keep", leaks="keep"), tmp_path / "cache")
    report = dropping.report
    assert sum(dropping.sizes().values()) + sum(report.dropped.values()) == sum(report.read.values())
    assert (keeping.val.row_id, keeping.test.row_id) == (dropping.val.row_id, dropping.test.row_id)
    assert keeping.report.found == report.found
    assert set(keeping.report.dropped) == {"blank"}
    assert set(dropping.train.row_id) <= set(keeping.train.row_id)


def test_cache_gives_what_was_first_read(
    name: str, make_any: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_any(name)
    first = prepare(source, tmp_path / "cache")
    monkeypatch.setattr(type(source), "read", lambda *_: pytest.fail("the cache was not used"))
    assert same(first, prepare(source, tmp_path / "cache"))


def test_fingerprint_is_that_of_the_content(name: str, make_any: Make, tmp_path: Path) -> None:
    source = make_any(name, folds=4, fold=1)
    one = build(source, source.files(tmp_path))
    assert build(source, source.files(tmp_path)).fingerprint == one.fingerprint
    reseeded = make_any(name, folds=4, fold=1, split_seed=43)
    assert build(reseeded, reseeded.files(tmp_path)).fingerprint != one.fingerprint


def test_folds_partition_what_is_not_test(name: str, make_any: Make, tmp_path: Path) -> None:
    corpora = [prepare(make_any(name, folds=3, fold=fold, leaks="keep"), tmp_path / "cache") for fold in range(3)]
    held_out = [row for corpus in corpora for row in corpus.val.row_id]
    assert len(set(held_out)) == len(held_out)
    assert len(held_out) == sum(corpora[0].report.read.values()) - len(corpora[0].test)
    assert corpora[0].test.row_id == corpora[2].test.row_id
    assert set(corpora[0].train.row_id).isdisjoint(corpora[0].val.row_id)


def test_docstring_names_labels_licence_and_source(name: str, make_any: Make) -> None:
    documentation = type(make_any(name)).__doc__ or ""
    assert "Labels:" in documentation
    assert "Licence" in documentation
    assert "source:" in documentation.lower()
