"""Unknown tokens are counted for every kind of tokenizer."""

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from checkpoints import (
    albert_unigram,
    byte_bpe,
    deberta_unigram,
    modernbert_bpe,
    sentencepiece_bpe,
    tiny_bertweet,
    wordpiece,
    xlm_unigram,
)
from chirplet.data.batching.token_counts import TokenCounter, TokenCounts, unknown_id
from chirplet.data.batching.tokens import UNCUT, Tokens, special_tokens, tokenize
from chirplet.data.batching.windows import windows_of
from chirplet.model.loading.bertweet_tokenizer import open_bertweet
from chirplet.runtime.tokenizer import FileTokenizer

TEXTS = ["good day", "\U00013000", "good \U00013000 day \U00013001"]  # hieroglyphs


@pytest.mark.parametrize("make", [wordpiece, xlm_unigram, albert_unigram, deberta_unigram])
def test_unknown_tokens_are_those_of_transformers(make):
    tokenizer = make()
    for encoder in (tokenizer, FileTokenizer(tokenizer.backend_tokenizer)):
        counts = TokenCounter(encoder, 32)(tokenize(TEXTS, encoder, "none", UNCUT))
        rows = tokenizer(TEXTS, add_special_tokens=False)["input_ids"]
        assert unknown_id(encoder) == tokenizer.unk_token_id
        assert counts.tokens == sum(map(len, rows))
        assert counts.unknown == sum(row.count(tokenizer.unk_token_id) for row in rows) == 3


def test_a_tokenizer_in_python_has_unknown_tokens(tmp_path):
    tokenizer = open_bertweet(tiny_bertweet(tmp_path), 32)
    assert TokenCounter(tokenizer, 32)(tokenize(TEXTS, tokenizer, "none", UNCUT)).unknown == 3


@pytest.mark.parametrize("make", [byte_bpe, modernbert_bpe, sentencepiece_bpe])
def test_bytes_know_everything(make):
    counts = TokenCounter(make(), 32)(tokenize(TEXTS, make(), "none", UNCUT))
    assert counts.unknown == 0 and counts.tokens > 8


def test_an_unknown_token_that_is_around_every_text_is_not_counted_there():
    backend = Tokenizer(models.WordLevel({"<s>": 0, "good": 1, "a": 2}, unk_token="<s>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(single="<s> $A <s>", special_tokens=[("<s>", 0)])
    tokenizer = FileTokenizer(backend)
    assert special_tokens(tokenizer) == ([0], [0])
    tokens = tokenize(["good day", "good", ""], tokenizer, "none", 3)
    assert [row.tolist() for row in tokens] == [[0, 1, 0], [0, 1, 0], [0, 0]]
    assert TokenCounter(tokenizer, 3)(tokens) == TokenCounts(texts=3, longer=1, tokens=2, unknown=0)
    whole = TokenCounter(tokenizer, 3)(tokenize(["good day", "good", ""], tokenizer, "none", UNCUT))
    assert whole == TokenCounts(texts=3, longer=1, tokens=3, unknown=1)


def test_many_unknown_tokens_have_a_remedy():
    assert TokenCounts(3, 0, 200, 0).notes(32, "cut", "none") == []
    assert TokenCounts(3, 1, 200, 2).notes(32, "cut", "none") == [
        "1 of 3 texts are longer than 32 tokens; cut",
        "2 of 200 tokens (1.00%) are unknown to the tokenizer",
    ]
    (many,) = TokenCounts(3, 0, 200, 3).notes(32, "cut", "none")
    assert many.endswith("; training with model.cleaning=emoji reads emoji as words")
    assert "cleaning" not in TokenCounts(3, 0, 200, 3).notes(32, "cut", "emoji")[0]


def test_windows_overlap_and_the_last_one_is_full():
    rows = [[1, *range(10, 19), 2], [1, 10, 11, 12, 13, 2], [1, 2]]
    tokens = Tokens(np.concatenate(rows).astype(np.int32), np.cumsum([0, *map(len, rows)]))
    # Four tokens between the special ones, of which a half overlaps: 9 = 4 + 2 + 2 + 1.
    windows = windows_of(tokens, ([1], [2]), 6, 0.5)
    assert windows.first.tolist() == [0, 4, 5, 6]
    assert [row.tolist() for row in windows.tokens] == [
        [1, 10, 11, 12, 13, 2],
        [1, 12, 13, 14, 15, 2],
        [1, 14, 15, 16, 17, 2],
        [1, 15, 16, 17, 18, 2],
        *rows[1:],
    ]
    assert len(windows_of(tokens, ([1], [2]), 6, 0.0).tokens) == 3 + 2
    assert len(windows_of(tokens, ([1], [2]), 6, 0.99).tokens) == 6 + 2
