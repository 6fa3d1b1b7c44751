from pathlib import Path

import numpy as np
import pytest

from chirplet.data.base import Corpus, DataReport, Examples
from chirplet.data.preparation import corpus_cache as cache
from chirplet.system.error import DataError


def corpus() -> Corpus:
    def tweets(name: str, size: int) -> Examples:
        dates = [None, "2020-03-16"][:size]
        return Examples([f"{name}:{row}" for row in range(size)], ["é😀\n", ""][:size], np.arange(size), dates)

    splits = {"train": tweets("a", 2), "val": tweets("b", 1), "test": tweets("c", 0)}
    report = DataReport(read={"train": 3}, examples={"blank": ["a:1"]})
    labels = ("x", "y")
    return Corpus("csv", labels, **splits, fingerprint=cache.fingerprint(labels, splits), report=report)  # type: ignore[arg-type]


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "corpus.arrow"
    cache.write(corpus(), path)
    read = cache.read(path)
    assert (read.labels, read.report, read.train.date) == (("x", "y"), corpus().report, [None, "2020-03-16"])
    assert (read.train.text, len(read.test), read.test.label.dtype) == (["é😀\n", ""], 0, np.int64)
    assert list(tmp_path.iterdir()) == [path]
    read.train.label[0] = 1


def test_fingerprint_is_over_all_of_it() -> None:
    one = corpus()
    splits = {"train": one.train, "val": one.val, "test": one.test}
    swapped = {"train": one.train, "val": one.test, "test": one.val}
    prints = {
        cache.fingerprint(("x", "y"), splits),  # type: ignore[arg-type]
        cache.fingerprint(("y", "x"), splits),  # type: ignore[arg-type]
        cache.fingerprint(("x", "y"), swapped),  # type: ignore[arg-type]
    }
    assert len(prints) == 3


def test_what_cannot_be_written_or_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be written .*set cache_dir"):
        cache.write(corpus(), tmp_path / "missing" / "corpus.arrow")
    with pytest.raises(FileNotFoundError):
        cache.read(tmp_path / "corpus.arrow")
