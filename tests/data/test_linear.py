"""No text takes time out of proportion to its length: not to repair, not to clean, not to tokenise."""

import time
from collections.abc import Callable

import pytest

from checkpoints import settings_of, tiny_bert, tiny_bertweet, tiny_roberta
from chirplet.data.cleaning import CLEANINGS
from chirplet.data.repair import repair
from chirplet.data.tokens import tokenize
from chirplet.model.tokenizer import load_tokenizer

SHORT, LONG = 4_000, 16_000
"""Characters. What is linear takes 4 times as long, what is quadratic 16 times."""
MOST = 9
ENOUGH_SECONDS = 0.06
"""Below it, what the clock says is chance."""
MEGABYTE = 1_000_000


def repeated(piece: str) -> Callable[[int], str]:
    return lambda size: piece * (size // len(piece))


PIECES = [
    "@",
    "#",
    ".",
    ":",
    "'",
    "’",
    '"',
    "&",
    "a",
    "1",
    " ",
    "😀",
    "\r",
    "a.",
    "+a",
    "1-",
    "www.",
    "http://",
    "https:",
]
PIECES += ["&amp;", "&#", "RT ", "n't", "it's ", "a@", "@_", "<a ", "(1", " p . m .", ". ", "é\n", "e\u0301", "\ud83d"]
PIECES += ["Ã©", "â\x80\x99", "â€™", "\x92", "Ã‚", "a" * 300 + ". "]
PIECES += ["@a #b http://t.co/x… can't &amp; Ã© 😀 "]
HOSTILE: dict[str, Callable[[int], str]] = {
    **{repr(piece[:20]): repeated(piece) for piece in PIECES},
    # Each layer of these is laid bare by the one before it.
    "escaped again": lambda size: "&" + "amp;" * (size // 4),
    "escaped within": lambda size: "&" * (size // 4) + "#" + "35;" * (size // 4),
    "misread on the left": lambda size: "Â" * (size // 4) + "©",
    "misread on the right": lambda size: "Ã" + "\x83" * (size // 4),
}


def seconds(work: Callable[[str], object], text: str) -> float:
    started = time.process_time()
    work(text)
    return time.process_time() - started


def check_growth(work: Callable[[str], object], hostile: Callable[[int], str], most: float = MOST) -> None:
    work(hostile(64))
    for _ in range(3):  # another process may have had the cache in between
        short, long = (seconds(work, hostile(size)) for size in (SHORT, LONG))
        if long < max(most * short, ENOUGH_SECONDS):
            return
    raise AssertionError(f"{SHORT:,} characters took {short:.2f} s, {LONG:,} took {long:.2f} s")


@pytest.mark.parametrize("name", HOSTILE)
def test_repair(name: str) -> None:
    check_growth(repair, HOSTILE[name])


@pytest.mark.parametrize("preset", [preset for preset in CLEANINGS if preset != "none"])
@pytest.mark.parametrize("name", HOSTILE)
def test_cleaning(name: str, preset: str) -> None:
    check_growth(CLEANINGS[preset], HOSTILE[name])  # type: ignore[index]


def test_what_is_quadratic_would_be_found() -> None:
    def quadratic(text: str) -> None:
        for _ in text:
            text.lower()

    with pytest.raises(AssertionError, match="took"):
        check_growth(quadratic, repeated("ab"))


@pytest.fixture(scope="module", params=[tiny_bert, tiny_roberta, tiny_bertweet], ids=lambda make: make.__name__)
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    return load_tokenizer(settings_of(request.param(tmp_path_factory.mktemp("tokenizer")), max_length=32))


@pytest.mark.parametrize("piece", ["a", "@", "😀", "a.", "中", "e\u0301", "<mask>", "#a http://b "])
def test_tokenization_with_truncation(piece: str, tokenizer) -> None:  # type: ignore[no-untyped-def]
    check_growth(lambda text: tokenize([text], tokenizer, "none", 32), repeated(piece))


@pytest.fixture(scope="module")
def megabyte() -> str:
    pieces = [hostile(MEGABYTE // (20 * len(HOSTILE))) for hostile in HOSTILE.values()]
    return (" ".join(pieces) * 40)[:MEGABYTE]


def test_a_megabyte_is_repaired(megabyte: str) -> None:
    assert seconds(repair, megabyte) < 30


@pytest.mark.parametrize("preset", CLEANINGS)
def test_a_megabyte_is_cleaned(preset: str, megabyte: str) -> None:
    assert seconds(CLEANINGS[preset], megabyte) < 30  # type: ignore[index]


def test_a_megabyte_is_tokenised(megabyte: str, tokenizer) -> None:  # type: ignore[no-untyped-def]
    text = megabyte.encode(errors="replace").decode()
    assert len(tokenize([text], tokenizer, "none", 32)[0]) == 32


def test_words_of_bertweet_are_cut_where_no_word_of_a_tweet_is() -> None:
    clean = CLEANINGS["bertweet"]
    address = "https://example.org/" + "a" * 236
    assert clean(f"see {address} ok") == "see HTTPURL ok"
    assert clean("b" * 600) == " ".join(["b" * 256, "b" * 256, "b" * 88])


def test_layers_of_damage_have_an_end() -> None:
    assert repair("&" + "amp;" * 8 + " b") == ("& b", frozenset({"html"}))
    assert repair("&" + "amp;" * 40)[0] == "&" + "amp;" * 30
