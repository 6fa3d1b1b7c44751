"""A smaller tokenizer reads a text as the larger one did, if it kept every token of it: of all three kinds."""

import json
import string

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast, XLMRobertaTokenizer

from checkpoints import TEXTS, settings_of, tiny
from chirplet.model.loading.tokenizer import load_tokenizer
from chirplet.pruner.tokens.tokenizer import always_kept, check_kind, closure, keep_tokens
from chirplet.system.error import PruningError

KINDS = ["bert", "roberta", "bertweet", "mpnet", "modernbert", "mmbert", "xlm-roberta", "camembert", "albert"]
KINDS.append("deberta-v2")
WORDS = sorted({word for example in TEXTS for word in example.split()})


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request, tmp_path_factory):
    return load_tokenizer(settings_of(tiny(request.param, tmp_path_factory.mktemp(request.param))))


def ids(tokenizer, text: str) -> list[int]:
    return tokenizer(text)["input_ids"]


@given(st.data())
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_what_was_kept_whole_is_read_as_before(tokenizer, data):
    train = data.draw(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=6))
    smaller, kept = keep_tokens(tokenizer, {number for example in train for number in ids(tokenizer, example)})
    word = st.one_of(st.sampled_from(WORDS), st.text(string.ascii_lowercase + "!@#😂", min_size=1, max_size=9))
    text = " ".join(data.draw(st.lists(word, min_size=1, max_size=8)))
    before = ids(tokenizer, text)
    unknown = tokenizer.unk_token_id in before
    if set(before) <= set(kept.tolist()) and not unknown:
        assert [int(kept[number]) for number in ids(smaller, text)] == before
    for example in train:
        if tokenizer.unk_token_id not in ids(tokenizer, example):
            assert [int(kept[number]) for number in ids(smaller, example)] == ids(tokenizer, example)
    # Whatever it spells now, it can still be spelt.
    assert unknown or smaller.unk_token_id not in ids(smaller, text)


def test_it_keeps_special_tokens_and_forgets_others(tokenizer):
    used = ids(tokenizer, TEXTS[0])
    smaller, kept = keep_tokens(tokenizer, used)
    assert len(smaller) == len(kept) < len(tokenizer)
    assert smaller.special_tokens_map == tokenizer.special_tokens_map
    assert kept.tolist() == sorted(set(kept.tolist()))
    assert set(used) <= set(kept.tolist())
    assert all(
        smaller.convert_ids_to_tokens(new) == tokenizer.convert_ids_to_tokens(int(old)) for new, old in enumerate(kept)
    )


def test_keeping_everything_changes_nothing(tokenizer):
    smaller, kept = keep_tokens(tokenizer, range(len(tokenizer)))
    assert np.array_equal(kept, np.arange(len(tokenizer)))
    assert all(ids(smaller, example) == ids(tokenizer, example) for example in TEXTS)


def test_each_piece_of_sentencepiece_that_spells_unknown_characters_is_kept(tmp_path):
    """Bytes, and the piece with the lowest score, which the score of an unknown character depends on."""
    bytes_ = {f"<0x{byte:02X}>" for byte in range(256)}
    tokenizer = load_tokenizer(settings_of(tiny("mmbert", tmp_path / "mmbert")))
    assert bytes_ <= set(tokenizer.convert_ids_to_tokens(always_kept(tokenizer).tolist()))
    pieces = [("<unk>", 0.0), ("a", -1.0), ("b", -1.0), ("ab", -9.0), ("ba", -1.5)]
    unigram = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.Unigram(pieces, 0)), unk_token="<unk>")
    smaller, kept = keep_tokens(unigram, [])
    assert kept.tolist() == [0, 1, 2, 3]
    model = json.loads(smaller.backend_tokenizer.to_str())["model"]
    assert (model["unk_id"], model["vocab"][3]) == (0, ["ab", -9.0])
    assert ids(smaller, "abcab") == ids(unigram, "abcab")


def test_the_token_for_unknown_words_is_kept_where_it_is_no_special_token(tmp_path):
    tokenizer = load_tokenizer(settings_of(tiny("mpnet", tmp_path)))
    smaller, kept = keep_tokens(tokenizer, [])
    assert tokenizer.unk_token_id in kept
    assert smaller.unk_token_id == int(np.flatnonzero(kept == tokenizer.unk_token_id)[0])
    assert ids(smaller, "ж") == [0, smaller.unk_token_id, 2]


def test_a_smaller_tokenizer_is_the_one_in_its_file_whatever_its_class_builds():
    """XLM-R's takes the fourth token for the unknown one, whatever the file says."""
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("x", -1.0), ("<unk>", 0.0), ("<mask>", 0.0)]
    opened = XLMRobertaTokenizer(vocab=pieces)
    backend = json.loads(opened.backend_tokenizer.to_str())
    backend["model"]["unk_id"] = 4
    opened._tokenizer = Tokenizer.from_str(json.dumps(backend))
    smaller, kept = keep_tokens(opened, [])
    assert kept.tolist() == [0, 1, 2, 3, 4, 5]
    assert ids(smaller, "y") == ids(PreTrainedTokenizerFast(tokenizer_object=opened.backend_tokenizer), "y")
    assert json.loads(smaller.backend_tokenizer.to_str())["model"]["unk_id"] == 4


def test_the_closure_by_hand():
    """`abc` has two merges, each with its parts; `de` is not needed."""
    merges = [("a", "b"), ("d", "e"), ("b", "c"), ("ab", "c"), ("a", "bc")]
    needed, left = closure({"abc"}, merges)
    assert needed == {"abc", "ab", "bc", "a", "b", "c"}
    assert left == [("a", "b"), ("b", "c"), ("ab", "c"), ("a", "bc")]


def test_a_tokenizer_without_special_tokens_around_texts_is_supported():
    trained = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1, "b": 2, "ab": 3}, unk_token="[UNK]"))
    assert json.loads(trained.to_str())["post_processor"] is None
    smaller, kept = keep_tokens(PreTrainedTokenizerFast(tokenizer_object=trained, unk_token="[UNK]"), [1])
    assert kept.tolist() == [0, 1, 2]
    assert ids(smaller, "b") == [2]


def test_other_tokenizers_are_refused():
    words = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, "a")))
    with pytest.raises(PruningError, match="the tokenizer is WordLevel, should be WordPiece, BPE or Unigram"):
        check_kind(words)
    prefixed = models.BPE({"a": 0, "##b": 1, "ab": 2}, [("a", "##b")], continuing_subword_prefix="##")
    with pytest.raises(PruningError, match="marks pieces within words by '##'"):
        check_kind(PreTrainedTokenizerFast(tokenizer_object=Tokenizer(prefixed)))
    with pytest.raises(PruningError, match=r"the tokenizer is a PreTrainedTokenizerBase, should be a fast tokenizer"):
        check_kind(PreTrainedTokenizerBase())
