"""Texts without labels: reading, removal of known texts, and word dropping."""

import numpy as np
import pytest

from chirplet.data.base import Corpus, DataReport, Examples
from chirplet.stage.distillation.unlabeled import (
    UNLABELLED,
    read_unlabeled,
    without_held_out,
    without_known,
    word_drop,
)
from chirplet.system.error import DataError
from tables import table_settings


def examples(*texts: str) -> Examples:
    return Examples(
        [f"f:{n}" for n in range(len(texts))], list(texts), np.zeros(len(texts), np.int64), [None] * len(texts)
    )


def test_files_are_read_repaired_and_blank_rows_left_out(tmp_path):
    (tmp_path / "a.csv").write_text("id,text\n1,good &amp; bad\n2,  \n3,so so\n")
    (tmp_path / "b.jsonl").write_text('{"text": "third"}\n{"text": null}\n')
    actual = read_unlabeled([f"{tmp_path}/a.csv", f"{tmp_path}/b.jsonl"], table_settings(), mend=True)
    assert actual.text == ["good & bad", "so so", "third"]
    assert actual.row_id == ["a.csv:1", "a.csv:3", "b.jsonl:1"]
    assert actual.label.tolist() == [UNLABELLED] * 3
    assert read_unlabeled([f"{tmp_path}/a.csv"], table_settings(), mend=False).text[0] == "good &amp; bad"


def test_a_missing_column_raises(tmp_path):
    (tmp_path / "a.csv").write_text("twet\nx\n")
    with pytest.raises(DataError, match=r"unlabeled_files: .*no column 'text'; did you mean 'twet'\?"):
        read_unlabeled([f"{tmp_path}/a.csv"], table_settings(), mend=True)


def test_texts_of_the_corpus_and_duplicates_are_left_out():
    """Texts that differ by letter case, spaces or links are the same."""
    corpus = Corpus(
        "csv", ("a", "b"), examples("one"), examples("two"), examples("THREE http://t.co/x"), "", DataReport()
    )
    more = examples("One", "two ", "three http://t.co/y", "four", "five", "FOUR")
    assert without_known(more, corpus).text == ["four", "five"]


def test_a_copy_that_equals_a_held_out_text_keeps_its_words():
    corpus = Corpus(
        "csv", ("a", "b"), examples("x"), examples("good morning"), examples("GOOD night"), "", DataReport()
    )
    plain = examples("good morning world", "a good night")
    copies = examples("good  Morning", "a good", "morning world", "good night")
    assert without_held_out(copies, plain, corpus).text == [
        "good morning world",
        "a good",
        "morning world",
        "a good night",
    ]


def test_words_are_dropped_with_the_probability_given_but_never_all():
    words = [f"w{n}" for n in range(1000)]
    (text,) = word_drop(examples(" ".join(words)), 0.3, 1, seed=0).text
    kept = text.split()
    assert 630 < len(kept) < 770
    assert kept == [word for word in words if word in set(kept)]
    assert word_drop(examples("only"), 0.99, 5, seed=0).text == ["only"] * 5


def test_copies_differ_and_are_the_same_for_the_same_seed():
    base = examples(" ".join(map(str, range(50))), "a b c d e f g h i j k l")
    one, again, other = (word_drop(base, 0.3, 2, seed) for seed in (1, 1, 2))
    assert one.text == again.text != other.text
    assert one.row_id == ["f:0#1", "f:1#1", "f:0#2", "f:1#2"]
    assert one.text[0] != one.text[2]
    assert one.label.tolist() == [UNLABELLED] * 4
