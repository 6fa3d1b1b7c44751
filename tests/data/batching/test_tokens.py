"""Tokens are made once, and made again when anything they depend on changes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from checkpoints import TEXTS, settings_of, tiny_bert, tiny_roberta
from chirplet.data.base import Examples
from chirplet.data.batching.token_cache import cached_tokens
from chirplet.data.batching.tokens import CHUNK, MOST_CHARACTERS, tokenize
from chirplet.model.loading.load import load_tokenizer
from chirplet.system.error import DataError


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return load_tokenizer(settings_of(str(tiny_bert(tmp_path_factory.mktemp("bert"))), max_length=32))


@pytest.fixture
def tweets() -> Examples:
    n = len(TEXTS)
    return Examples([str(i) for i in range(n)], list(TEXTS), np.zeros(n, dtype=np.int64), [None] * n)


def entries(cache: Path) -> set[str]:
    return {path.name for path in (cache / "tokens").glob("*.arrow")}


def test_the_ids_are_the_tokenizers_own(tokenizer, tweets, tmp_path):
    tokens = cached_tokens(tweets, tokenizer, "none", 32, tmp_path)
    expected = tokenizer(tweets.text, truncation=True, max_length=32)["input_ids"]
    assert [tokens[i].tolist() for i in range(len(tokens))] == expected
    assert tokens.lengths.tolist() == [len(row) for row in expected]
    assert len(tokens) == len(tweets)


def test_tweets_are_cleaned_first_and_cut_last(tokenizer):
    tokens = tokenize(["@somebody look https://t.co/x"], tokenizer, "twitter_roberta", 32)
    assert tokens[0].tolist() == tokenizer("@user look http")["input_ids"]
    assert tokenize(["word " * 50], tokenizer, "none", 12).lengths.tolist() == [12]


def test_truncated_tweets_are_counted(tokenizer, tweets, tmp_path):
    whole = tokenizer(tweets.text)["input_ids"]
    for _ in range(2):  # made, and read from the cache
        tokens = cached_tokens(tweets, tokenizer, "none", 20, tmp_path)
        assert tokens.truncated == sum(len(row) > 20 for row in whole) > 0
        assert [row.tolist() for row in tokens] == tokenizer(tweets.text, truncation=True, max_length=20)["input_ids"]
    assert tokenize(tweets.text, tokenizer, "none", max(map(len, whole))).truncated == 0


def test_more_tweets_than_a_chunk_stay_in_order(tokenizer):
    texts = [TEXTS[i % len(TEXTS)] for i in range(CHUNK + 5)]
    tokens = tokenize(texts, tokenizer, "none", 32)
    assert len(tokens) == CHUNK + 5
    assert tokens[CHUNK + 4].tolist() == tokenizer(texts[-1], truncation=True, max_length=32)["input_ids"]


def test_the_second_time_nothing_is_tokenised(tokenizer, tweets, tmp_path, monkeypatch):
    first = cached_tokens(tweets, tokenizer, "none", 32, tmp_path)
    monkeypatch.setattr("chirplet.data.batching.tokens._encoded", None)
    again = cached_tokens(tweets, tokenizer, "none", 32, tmp_path)
    np.testing.assert_array_equal(first.values, again.values)
    assert not again.values.flags.owndata  # mapped, not read


def test_a_tokenizer_that_was_just_opened_finds_what_a_used_one_has_written(tokenizer, tweets, tmp_path, monkeypatch):
    tokenizer(tweets.text, truncation=True, max_length=7, padding="max_length")  # it keeps how it was asked
    first = cached_tokens(tweets, tokenizer, "none", 32, tmp_path)
    fresh = load_tokenizer(settings_of(tokenizer.name_or_path, max_length=32))
    monkeypatch.setattr("chirplet.data.batching.tokens._encoded", None)
    np.testing.assert_array_equal(first.values, cached_tokens(tweets, fresh, "none", 32, tmp_path).values)


def test_whatever_the_ids_depend_on_makes_a_new_entry(tokenizer, tweets, tmp_path):
    other = load_tokenizer(settings_of(str(tiny_roberta(tmp_path / "roberta")), max_length=32))
    cached_tokens(tweets, tokenizer, "none", 32, tmp_path)
    for changed in (
        lambda: cached_tokens(tweets, tokenizer, "original_study", 32, tmp_path),
        lambda: cached_tokens(tweets, tokenizer, "none", 16, tmp_path),
        lambda: cached_tokens(tweets, other, "none", 32, tmp_path),
        lambda: cached_tokens(replace(tweets, text=["x", *tweets.text[1:]]), tokenizer, "none", 32, tmp_path),
    ):
        before = entries(tmp_path)
        changed()
        assert len(entries(tmp_path)) == len(before) + 1


def test_a_text_that_no_expression_can_read_is_an_error(tokenizer):
    texts = ["fine", "www." + "." * MOST_CHARACTERS]
    with pytest.raises(
        DataError, match=r"got one of 5,000,004 characters \('www\..+'\.\.\.\), should be at most 5,000,000"
    ):
        tokenize(texts, tokenizer, "twitter_roberta", 16)


def test_no_tweets_are_no_tokens(tokenizer):
    assert len(tokenize([], tokenizer, "none", 32)) == 0
