"""Labels with few texts: split so that every part has one, else an error, dropped or merged."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chirplet.data.base import Corpus, Source
from chirplet.data.preparation.prepare import prepare
from chirplet.system.error import DataError

Make = Callable[..., Source]


@pytest.fixture
def prepared(make_source: Make, tmp_path: Path) -> Callable[..., Corpus]:
    def make(counts: dict[str, int], **settings: Any) -> Corpus:
        rows = [f"{label} text {row},{label}" for label, count in counts.items() for row in range(count)]
        (tmp_path / "a.csv").write_text("\n".join(["text,label", *rows]) + "\n")
        return prepare(make_source("csv", train=str(tmp_path / "a.csv"), **settings), tmp_path)

    return make


def of_each(corpus: Corpus, label: str) -> list[int]:
    index = corpus.labels.index(label)
    return [int((corpus.split(name).label == index).sum()) for name in ("train", "val", "test")]


def test_nine_of_five_hundred_and_three_are_enough(prepared):
    corpus = prepared({"common": 488, "odd": 9, "rare": 3})
    assert of_each(corpus, "odd") == [6, 1, 2]
    assert of_each(corpus, "rare") == [1, 1, 1]
    assert corpus.report.left_out() == ""
    assert sum(of_each(prepared({"common": 90, "odd": 9}, folds=8), "odd")) == 9


@pytest.mark.parametrize(
    ("counts", "changes", "line"),
    [
        (
            {"odd": 2},
            {},
            "got 2 texts of the label 'odd' in .*a.csv, should be 3 or more, one for each of train, val, t",
        ),
        (
            {"odd": 1},
            {"val_fraction": 0.0},
            "should be 2 or more, one for each of train, test; .*data.rare=drop .*merge",
        ),
        ({"odd": 5}, {"folds": 5}, "got 5 .* should be 6 or more, one for each of the 5 folds and one for test"),
        ({"odd": 9}, {"min_per_label": 10}, "got 9 texts of the label 'odd' in .*, should be 10 or more; add"),
        ({"odd": 1}, {"rare": "merge"}, "got 1 texts of the label 'other' in .* should be 3 or more.*leaves them out$"),
        (
            dict.fromkeys("cdefgh", 2),
            {},
            "got 2 texts of the label 'c', 2 of 'd', .* 2 of 'g' and few of 1 more labels in",
        ),
    ],
)
def test_too_few_are_an_error_that_counts_the_whole_source(prepared, counts, changes, line):
    with pytest.raises(DataError, match=f"data.min_per_label: .*{line}") as error:
        prepared({"a": 60, "z": 60} | counts, **changes)
    assert "fraction" not in str(error.value)


def test_rare_labels_are_dropped_from_every_split_and_counted(prepared):
    corpus = prepared({"a": 60, "b": 30, "odd": 2}, rare="drop")
    assert corpus.labels == ("a", "b")
    assert sum(corpus.sizes().values()) == 90
    assert (corpus.report.found["rare"], corpus.report.dropped["rare"]) == (2, 2)
    assert corpus.report.examples["rare"] == ["a.csv:91", "a.csv:92"]
    assert corpus.report.left_out() == "2 of 92 left out: 2 of rare labels"
    assert prepared({"a": 60, "b": 30, "odd": 29}, rare="drop", min_per_label=30).labels == ("a", "b")


def test_rare_labels_become_one(prepared):
    corpus = prepared({"a": 60, "b": 30, "x": 2, "y": 1}, rare="merge", rare_label="misc")
    assert corpus.labels == ("a", "b", "misc")
    assert of_each(corpus, "misc") == [1, 1, 1]
    assert (corpus.report.found["rare"], corpus.report.left_out()) == (3, "")
    joined = prepared({"other": 60, "b": 30, "x": 2}, rare="merge")
    assert (joined.labels, sum(of_each(joined, "other"))) == (("b", "other"), 62)


def test_a_label_of_files_of_their_own_needs_no_more_than_one(make_source: Make, tmp_path: Path):
    rows = {"train": ["a"] * 20 + ["b"] * 20 + ["c"], "val": ["a"], "test": ["a", "b"]}
    for name, labels in rows.items():
        lines = [f"{name} {row},{label}" for row, label in enumerate(labels)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    files = {name: str(tmp_path / f"{name}.csv") for name in rows}
    assert prepare(make_source("csv", **files), tmp_path).sizes() == {"train": 41, "val": 1, "test": 2}
    dropped = prepare(make_source("csv", **files, min_per_label=2, rare="drop"), tmp_path)
    assert Counter(dropped.train.label.tolist()) == {0: 20, 1: 20}
    with pytest.raises(DataError, match=r"got 22 .*'b' \(20 in train\).* should be 23"):
        prepare(make_source("csv", **files, min_per_label=23), tmp_path)
