"""Tweets without labels: read, freed of what is known, and with words dropped."""

import numpy as np
import pytest

from chirplet.data.base import Corpus, DataReport, Tweets
from chirplet.stage.distillation.unlabeled import (
    UNLABELLED,
    read_unlabelled,
    without_held_out,
    without_known,
    word_drop,
)
from chirplet.system.error import DataError


def tweets(*texts: str) -> Tweets:
    return Tweets(
        [f"f:{n}" for n in range(len(texts))], list(texts), np.zeros(len(texts), np.int64), [None] * len(texts)
    )


def test_files_are_read_repaired_and_blank_rows_left_out(tmp_path):
    (tmp_path / "a.csv").write_text("id,tweet\n1,good &amp; bad\n2,  \n3,so so\n")
    (tmp_path / "b.jsonl").write_text('{"tweet": "third"}\n{"tweet": null}\n')
    found = read_unlabelled([f"{tmp_path}/a.csv", f"{tmp_path}/b.jsonl"], "tweet", "utf-8", mend=True)
    assert found.text == ["good & bad", "so so", "third"]
    assert found.row_id == ["a.csv:1", "a.csv:3", "b.jsonl:1"]
    assert found.label.tolist() == [UNLABELLED] * 3
    assert read_unlabelled([f"{tmp_path}/a.csv"], "tweet", "utf-8", mend=False).text[0] == "good &amp; bad"


def test_a_missing_column_is_told(tmp_path):
    (tmp_path / "a.csv").write_text("twet\nx\n")
    with pytest.raises(DataError, match=r"transfer: .*no column 'tweet'; did you mean 'twet'\?"):
        read_unlabelled([f"{tmp_path}/a.csv"], "tweet", "utf-8", mend=True)


def test_what_stands_in_the_corpus_or_came_before_is_left_out():
    """Letter case, spaces and links make no other tweet of it."""
    corpus = Corpus("csv", ("a", "b"), tweets("one"), tweets("two"), tweets("THREE http://t.co/x"), "", DataReport())
    more = tweets("One", "two ", "three http://t.co/y", "four", "five", "FOUR")
    assert without_known(more, corpus).text == ["four", "five"]


def test_a_view_that_has_become_a_held_out_tweet_keeps_its_words():
    corpus = Corpus("csv", ("a", "b"), tweets("x"), tweets("good morning"), tweets("GOOD night"), "", DataReport())
    plain = tweets("good morning world", "a good night")
    views = tweets("good  Morning", "a good", "morning world", "good night")
    assert without_held_out(views, plain, corpus).text == [
        "good morning world",
        "a good",
        "morning world",
        "a good night",
    ]


def test_words_are_dropped_with_the_probability_given_but_never_all():
    words = [f"w{n}" for n in range(1000)]
    (text,) = word_drop(tweets(" ".join(words)), 0.3, 1, seed=0).text
    kept = text.split()
    assert 630 < len(kept) < 770
    assert kept == [word for word in words if word in set(kept)]
    assert word_drop(tweets("only"), 0.99, 5, seed=0).text == ["only"] * 5


def test_views_differ_and_are_the_same_for_the_same_seed():
    base = tweets(" ".join(map(str, range(50))), "a b c d e f g h i j k l")
    one, again, other = (word_drop(base, 0.3, 2, seed) for seed in (1, 1, 2))
    assert one.text == again.text != other.text
    assert one.row_id == ["f:0#1", "f:1#1", "f:0#2", "f:1#2"]
    assert one.text[0] != one.text[2]
    assert one.label.tolist() == [UNLABELLED] * 4
