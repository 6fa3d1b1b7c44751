"""Parts of a set of texts, by hand."""

import numpy as np

from chirplet.report.slices import most_divided, slices


def test_parts_by_hand():
    texts = ["a #tag", "b @user", "c https://t.co/x", "d" * 100, "e # @"]
    parts = slices(texts, np.array([3, 15, 16, 200, 2]))
    assert parts["hashtags"]["with hashtags"].tolist() == [True, False, False, False, False]
    assert parts["mentions"]["with mentions"].tolist() == [False, True, False, False, False]
    assert parts["URLs"]["without URLs"].tolist() == [True, True, False, True, True]
    assert {name: mask.sum() for name, mask in parts["characters"].items()} == {"0 to 69": 4, "70 to 139": 1}
    assert {name: mask.sum() for name, mask in parts["tokens"].items()} == {
        "0 to 15": 3,
        "16 to 31": 1,
        "96 or more": 1,
    }


def test_every_tweet_is_in_one_part_of_each_kind():
    texts = ["x" * length for length in range(0, 400, 7)]
    for parts in slices(texts, np.arange(len(texts))).values():
        assert np.sum(list(parts.values()), axis=0).tolist() == [1] * len(texts)


def test_the_tweets_that_divide_most_come_first():
    labels = ["aaab", "abab", "acab", "aabb"]  # of four models, a character a text
    right = [np.array([label == "a" for label in one]) for one in labels]
    assert most_divided(labels, right, 5) == [1, 2]  # models agree on 0 and 3
