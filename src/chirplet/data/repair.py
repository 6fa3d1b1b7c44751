"""Text as its author wrote it: undoes what exports, wrong encodings and HTML did to a tweet."""

import html
import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ftfy import TextFixerConfig

ENCODING_KINDS = frozenset({"bytes", "utf8", "mojibake"})
"""Damage that a wrong encoding did. `bytes` is what a reader mends before the text is text (see `files.Row`)."""

# ASCII without these is sound: carriage returns, entities, and control characters but tab, newline and form feed.
_SUSPECT = re.compile("[&\r\x00-\x08\x0b\x0e-\x1f\x7f]")
_LINE_BREAK = re.compile("\r+\n?")


def repair(text: str) -> tuple[str, frozenset[str]]:
    """The text mended, and the kinds of repair that changed it. `repair` of its own result changes nothing.

    In this order, over again until nothing changes, since one damage may hide another:

    - `line_break`: CR, CRLF and CRCRLF to a newline, the only line break that Twitter has.
    - `utf8`: UTF-8 that was read as latin-1, where the whole text goes back.
    - `mojibake`: what ftfy mends: UTF-8 read as another encoding in parts, C1 control characters for Windows-1252
      punctuation, NUL and other control characters, lone surrogates, Unicode not in NFC. Curly quotes,
      ligatures and wide characters are the author's and stay.
    - `html`: entities; `&amp;amp;`, which is what escaping twice makes, goes back to `&`.
    """
    kinds: set[str] = set()
    while not text.isascii() or _SUSPECT.search(text):
        before = text
        for kind, mended in (("line_break", _break_lines), ("utf8", _to_utf8), ("mojibake", _fix), ("html", _unescape)):
            after = mended(text)
            if after != text:
                kinds.add(kind)
                text = after
        if text == before:
            break
    return text, frozenset(kinds)


def _break_lines(text: str) -> str:
    return _LINE_BREAK.sub("\n", text)


def _to_utf8(text: str) -> str:
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def _fix(text: str) -> str:
    from ftfy import fix_text

    return fix_text(text, _config())


def _unescape(text: str) -> str:
    return html.unescape(text) if "&" in text else text


@cache
def _config() -> "TextFixerConfig":
    from ftfy import TextFixerConfig

    return TextFixerConfig(
        unescape_html=False,
        fix_latin_ligatures=False,
        fix_character_width=False,
        uncurl_quotes=False,
        fix_line_breaks=False,
        normalization="NFC",
    )
