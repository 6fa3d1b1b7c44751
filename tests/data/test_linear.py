"""No text takes work out of proportion to its length: not to repair, not to clean, not to tokenise.

Nothing here asks the clock; `benchmarks/growth.py` does. Where Python does the work, the lines that it executes are
counted. Where C or Rust does it, a text is so long that quadratic work would take many minutes, which pytest's timeout
ends; linear work takes a second.
"""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from checkpoints import settings_of, tiny_bert, tiny_bertweet, tiny_roberta
from chirplet.data.batching.tokens import tokenize
from chirplet.data.preparation.cleaning import LONGEST_WORD, cleaner
from chirplet.data.preparation.repair import repair
from chirplet.model.loading.tokenizer import load_tokenizer
from hostile import HOSTILE, WRITTEN, Hostile, repeated

FEW, MANY = 500, 2_000
"""Characters. Linear work is 4 times as many lines, quadratic work 16 times."""
MOST = 5
LONG = 800_000
"""Characters. An expression of `re` that is quadratic takes 1 to 8 ns a step on a CPU of 2022: 4 to 40 minutes."""

Work = Callable[[str], object]


LEAST = 100
"""Lines; of fewer, those of what Python tidies up meanwhile would count."""


def lines(work: Work, text: str) -> int:
    """How many lines of Python `work(text)` executes: each turn of a loop within a line and each call count as one."""
    executed = 0

    def count(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal executed
        executed += 1
        return count

    before = sys.gettrace()  # a debugger's, or that of coverage
    sys.settrace(count)
    try:
        work(text)
    finally:
        sys.settrace(before)
    return executed


def check_lines(work: Work, hostile: Hostile) -> None:
    work(hostile(64))  # imports, and tables that are filled once
    few, many = (lines(work, hostile(size)) for size in (FEW, MANY))
    assert many <= MOST * max(few, LEAST), f"{FEW:,} characters took {few:,} lines, {MANY:,} took {many:,}"


@pytest.mark.parametrize("name", HOSTILE)
def test_lines_of_repair(name: str) -> None:
    check_lines(repair, HOSTILE[name])


@pytest.mark.parametrize("preset", ["bertweet", "emoji"])
@pytest.mark.parametrize("name", HOSTILE)
def test_lines_of_cleaning(name: str, preset: str) -> None:
    check_lines(cleaner(preset), HOSTILE[name])  # type: ignore[index]


def loop_in_loop(text: str) -> None:
    for _ in text:
        for _ in text[::4]:
            pass


def loop_in_line(text: str) -> None:
    [0 for _ in text for _ in text[::4]]


def loop_in_call(text: str) -> None:
    for _ in text:
        any(map(bool, (False for _ in text[::4])))


@pytest.mark.parametrize("quadratic", [loop_in_loop, loop_in_line, loop_in_call])
def test_quadratic_lines_are_found(quadratic: Work) -> None:
    with pytest.raises(AssertionError, match=r"500 characters took .* lines, 2,000 took"):
        check_lines(quadratic, repeated("ab"))


@pytest.mark.parametrize("name", [name for name in HOSTILE if name != repr("é\n")])
def test_a_long_text_is_repaired(name: str) -> None:
    """But one of many lines, each of which is handed to Python."""
    assert isinstance(repair(HOSTILE[name](LONG))[0], str)


@pytest.mark.parametrize("preset", ["original_study", "twitter_roberta"])
@pytest.mark.parametrize("name", WRITTEN)
def test_a_long_text_is_cleaned(name: str, preset: str) -> None:
    assert isinstance(cleaner(preset)(WRITTEN[name](LONG)), str)  # type: ignore[index]


@pytest.mark.parametrize("piece", ["a", " ", "@", "&", "https:", "it's "])
def test_a_long_text_is_cleaned_for_bertweet(piece: str) -> None:
    """Few pieces, since NLTK's expressions take long for each word; `LONGEST_WORD` bounds how long."""
    assert isinstance(cleaner("bertweet")(repeated(piece)(LONG)), str)


Tokenizer = Callable[[str], NDArray[np.int32]]


@pytest.fixture(scope="module")
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    found = load_tokenizer(settings_of(request.param(tmp_path_factory.mktemp("tokenizer")), max_length=32))
    return lambda text: tokenize([text], found, "none", 32)[0]


TOKENIZERS = [pytest.param(make, id=make.__name__) for make in (tiny_bert, tiny_roberta, tiny_bertweet)]


@pytest.mark.parametrize("piece", ["a", "@", "😀", "a.", "中", "e\u0301", "<mask>", "#a http://b "])
@pytest.mark.parametrize("tokenizer", TOKENIZERS, indirect=True)
def test_lines_of_tokenization(piece: str, tokenizer: Tokenizer) -> None:
    check_lines(tokenizer, repeated(piece))


@pytest.mark.parametrize("piece", ["a", "#a http://b "])
@pytest.mark.parametrize("tokenizer", TOKENIZERS[:2], indirect=True)
def test_a_long_text_is_tokenised(piece: str, tokenizer: Tokenizer) -> None:
    """By the tokenizers in Rust; that of BERTweet is in Python."""
    assert len(tokenizer(repeated(piece)(LONG))) <= 32


def test_words_of_bertweet_are_cut_where_no_word_of_a_tweet_is() -> None:
    clean = cleaner("bertweet")
    address = "https://example.org/" + "a" * 236
    assert clean(f"see {address} ok") == "see HTTPURL ok"
    assert clean("b" * 600) == " ".join(["b" * LONGEST_WORD, "b" * LONGEST_WORD, "b" * 88])


def test_layers_of_damage_have_an_end() -> None:
    assert repair("&" + "amp;" * 8 + " b") == ("& b", frozenset({"html"}))
    assert repair("&" + "amp;" * 40)[0] == "&" + "amp;" * 30
