"""Cleaning inside a tokenizer gives the token ids that cleaning in Python gives."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer
from tokenizers.normalizers import NFC, Lowercase, Prepend, Sequence

from checkpoints import TEXTS, byte_bpe, mpnet_wordpiece, sentencepiece_bpe, wordpiece, xlm_unigram
from chirplet.data.preparation.cleaning import clean
from chirplet.data.preparation.normalizers import NORMALIZERS, clean_inside, cleans_inside
from cleaning_in_python import IN_PYTHON

PRESETS = sorted(IN_PYTHON)
PIECES = ["@", "@a_1", "#", "b", "Ab", "RT", "http", "HTTPS", "://", ":", "/", "www.", "…", "a.b", "é", "e\u0301", "ß"]
PIECES += [
    "can't",
    "WON’T",
    "n't",
    "'s",
    "it",
    "She",
    "that",
    "I'm",
    "'D",
    "y'all",
    "_",
    ".",
    "!",
    "?",
    "$",
    "€",
    "“",
    "।",
]
PIECES += [
    " ",
    "\n",
    "\r\n",
    "\t",
    "\x0b",
    "\x0c",
    "\x1c",
    "\x1f",
    "\x85",
    "\xa0",
    "\u1680",
    "\u2007",
    "\u2028",
    "\u202f",
]
PIECES += [
    "\u3000",
    "\u200b",
    "\u200d",
    "\ufeff",
    "\u2060",
    "\x00",
    "\x1b",
    "\x7f",
    "\xad",
    "²",
    "½",
    "٣",
    "中",
    "क",
    "ि",
]
PIECES += ["😀", "👩\u200d💻", "🇺🇸", "️", "İ", "ı", "Σ", "ς", "Ǆ", "ﬁ", "＠a", "ﷺ", "\U0010ffff", "$1", "\\", "$&"]
# Lone surrogates cannot be tokenized; code points without a name in Python's Unicode may have one in a later Unicode.
TEXT = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join),
    st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=30),
)


# Without regard to case, `re` takes these for ASCII letters, which the presets do not.
ALIKE = re.compile("[ſ\u212aıİ]")


@pytest.mark.parametrize("preset", PRESETS)
@given(text=TEXT)
def test_texts_are_cleaned_as_in_python(preset: Any, text: str) -> None:
    text = ALIKE.sub("", text)
    # Python's `lower` alone knows the letter at the end of a word.
    expected = IN_PYTHON[preset](text.replace("Σ", "σ") if preset == "original_study" else text)
    assert clean(text, preset) == expected


MAKERS: list[Callable[[], Any]] = [wordpiece, mpnet_wordpiece, byte_bpe, sentencepiece_bpe, xlm_unigram]


def of_transformers(make: Callable[[], Any]) -> SimpleNamespace:
    return SimpleNamespace(backend_tokenizer=make().backend_tokenizer)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("make", MAKERS)
def test_token_ids_are_those_of_cleaned_texts(make: Callable[[], Any], preset: Any) -> None:
    plain, cleaning = of_transformers(make).backend_tokenizer, of_transformers(make)
    # As in tokenizers of the hub: `<s>` is looked for in normalized texts.
    special = [
        AddedToken(token, normalized=True, special=True) for token in ("<s>", "[SEP]") if plain.token_to_id(token)
    ]
    plain.add_special_tokens(special)
    cleaning.backend_tokenizer.add_special_tokens(special)
    clean_inside(cleaning, preset)
    saved = Tokenizer.from_str(cleaning.backend_tokenizer.to_str())

    @given(text=TEXT)
    def same(text: str) -> None:
        ids = plain.encode(clean(text, preset)).ids
        assert cleaning.backend_tokenizer.encode(text).ids == ids
        assert saved.encode(text).ids == ids

    same()


def test_a_tokenizer_cleans_with_one_preset_that_its_file_shows() -> None:
    tokenizer = of_transformers(wordpiece)
    before = json.loads(tokenizer.backend_tokenizer.to_str())
    assert cleans_inside(tokenizer, "none") and not cleans_inside(tokenizer, "twitter_roberta")
    for preset in ("twitter_roberta", "original_study", "original_study"):
        clean_inside(tokenizer, preset)
        content = json.loads(tokenizer.backend_tokenizer.to_str())
        assert content["normalizer"]["normalizers"] == [*NORMALIZERS[preset], before["normalizer"]]
        assert [one for one in NORMALIZERS if cleans_inside(tokenizer, one)] == [preset]
    # What no file can have is done before; then nothing else is done inside.
    clean_inside(tokenizer, "emoji")
    assert not cleans_inside(tokenizer, "emoji") and cleans_inside(tokenizer, "none")
    assert json.loads(tokenizer.backend_tokenizer.to_str()) == before


@pytest.mark.parametrize("own", [None, NFC(), Sequence([NFC(), Sequence([Lowercase(), Prepend("_")])])])
def test_the_tokenizers_own_normalizers_come_after_and_stay(own: Any) -> None:
    tokenizer = of_transformers(byte_bpe)
    tokenizer.backend_tokenizer.normalizer = own
    clean_inside(tokenizer, "twitter_roberta")
    text = "@Bob Cafe\u0301  http://x.y"
    expected = clean(text, "twitter_roberta") if own is None else own.normalize_str(clean(text, "twitter_roberta"))
    assert tokenizer.backend_tokenizer.normalizer.normalize_str(text) == expected
    clean_inside(tokenizer, "none")
    after = tokenizer.backend_tokenizer.normalizer
    assert (text if after is None else after.normalize_str(text)) == (text if own is None else own.normalize_str(text))
    assert cleans_inside(tokenizer, "none")


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node")
@pytest.mark.parametrize("preset", PRESETS)
def test_javascript_cleans_alike(preset: Any) -> None:
    texts = [*PIECES, *(f"a{piece}b {piece}" for piece in PIECES), "".join(PIECES), "x".join(PIECES), *TEXTS]
    script = """
        const [steps, texts] = JSON.parse(require("fs").readFileSync(0));
        const patterns = steps.map((step) => step.pattern && new RegExp(step.pattern.Regex, "gu"));
        const clean = (text) => steps.reduce((before, step, i) =>
            patterns[i] ? before.replaceAll(patterns[i], step.content) : before.toLowerCase(), text);
        console.log(JSON.stringify(texts.map(clean)));
    """
    given = json.dumps([NORMALIZERS[preset], texts])
    done = subprocess.run(["node", "-e", script], input=given, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [clean(text, preset) for text in texts]


def test_expressions_are_those_of_every_engine() -> None:
    for steps in NORMALIZERS.values():
        for step in steps:
            expression = step.get("pattern", {}).get("Regex", "")
            assert not any(part in expression for part in ("(?i", r"\s", r"\S", r"\w", r"\b", r"\d", "[[", "&&", r"\x"))
            assert "$" not in step.get("content", "")  # JavaScript reads `$1` in what is put in
