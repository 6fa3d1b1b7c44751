import csv
import os
from pathlib import Path
from unicodedata import is_normalized

import pytest
from ftfy import fix_text
from hypothesis import given, settings
from hypothesis import strategies as st

from chirplet.data.preparation.repair import _CONTROL, ENCODING_KINDS, _config, repair


@pytest.mark.parametrize(
    ("damaged", "mended", "kinds"),
    [
        ("plain text, nothing to do", "plain text, nothing to do", set()),
        ("emoji 😀 and “curly” quotes stay", "emoji 😀 and “curly” quotes stay", set()),
        ("itâ\x80\x99s", "it’s", {"utf8"}),
        ("itÂ\x92s", "it’s", {"utf8", "mojibake"}),
        ("sÃ£o 😀", "são 😀", {"mojibake"}),
        ("nul\x00 here", "nul here", {"mojibake"}),
        ("a\r\r\nb\r\nc\rd\n", "a\nb\nc\nd\n", {"line_break"}),
        ("R&amp;B &lt;3", "R&B <3", {"html"}),
        ("R&amp;amp;B", "R&B", {"html"}),
        ("&Atilde;&copy;t&Atilde;&copy;", "été", {"html", "utf8"}),
        ("half \ud83d", "half \ufffd", {"mojibake"}),
        ("e\u0301", "é", {"mojibake"}),
        ("AT&T & co", "AT&T & co", set()),
        ("dollars&cents, this&notthat", "dollars&cents, this&notthat", set()),
        ("http://x.com/?active=true&current=true&amp=1", "http://x.com/?active=true&current=true&amp=1", set()),
        ("5 &lt; 6 &amp 7 &quot", '5 < 6 & 7 "', {"html"}),
        ("&lt3 &gté &notthat; &copy", "&lt3 &gté &notthat; &copy", set()),
        ("&copy; &#128525; &#x1F600; &amp;notthat", "© 😍 😀 &notthat", {"html"}),
        ("&#" + "9" * 5000 + ";", "&#" + "9" * 5000 + ";", set()),
        ("ｗｉｄｅ ﬁ", "ｗｉｄｅ ﬁ", set()),
    ],
)
def test_cases(damaged: str, mended: str, kinds: set[str]) -> None:
    assert repair(damaged) == (mended, kinds)


PIECES = st.sampled_from(
    [
        "&amp;",
        "amp;",
        "&",
        "lt;",
        "&lt",
        "not",
        "=",
        "#39;",
        "&#x80;",
        "Ã",
        "©",
        "â\x80\x99",
        "\x92",
        "\r",
        "\n",
        "\x00",
        "é",
        "e\u0301",
        "😀",
        " ",
        "a",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=10).map("".join)))
def test_repair_of_its_result_changes_nothing(text: str) -> None:
    mended, _ = repair(text)
    assert repair(mended) == (mended, frozenset())


def test_ftfy_changes_no_text_that_is_not_given_to_it() -> None:
    chars = [char for char in map(chr, range(0x11000)) if not _CONTROL.search(char) and is_normalized("NFC", char)]
    assert len(chars) > 60_000
    config = _config()._replace(fix_encoding=False)
    for start in range(0, len(chars), 500):
        text = "|".join(chars[start : start + 500])  # apart, because some compose with others
        assert fix_text(text, config) == text


@settings(max_examples=100, deadline=None)
@given(
    st.text(
        st.characters(min_codepoint=0x20, max_codepoint=0x24F, exclude_characters="&\x7f", exclude_categories=["Cc"]),
        max_size=40,
    )
)
def test_utf8_read_as_latin1_comes_back(text: str) -> None:
    import unicodedata

    if repair(text)[1]:
        return
    damaged = text.encode().decode("latin-1")
    assert repair(damaged)[0] == unicodedata.normalize("NFC", text)


@pytest.mark.skipif("CHIRPLET_CORONA_DIR" not in os.environ, reason="CHIRPLET_CORONA_DIR names no Corona NLP folder")
def test_the_corona_train_set_has_7062_damaged_rows() -> None:
    path = Path(os.environ["CHIRPLET_CORONA_DIR"]) / "Corona_NLP_train.csv"
    with path.open(encoding="latin-1", newline="") as stream:
        kinds = [repair(row["OriginalTweet"])[1] for row in csv.DictReader(stream)]
    assert sum(bool(found & ENCODING_KINDS) for found in kinds) == 7062
