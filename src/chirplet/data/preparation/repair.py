"""Text as its author wrote it: undoes what exports, wrong encodings and HTML did to a tweet."""

import html
import io
import re
from functools import cache, partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ftfy import TextFixerConfig

ENCODING_KINDS = frozenset({"bytes", "utf8", "mojibake"})
"""Damage that a wrong encoding did. `bytes` is what a reader mends before the text is text (see `files.Row`)."""

# ASCII without these is sound: carriage returns, entities, and control characters but tab, newline and form feed.
_SUSPECT = re.compile("[&\r\x00-\x08\x0b\x0e-\x1f\x7f]")
_LINE_BREAK = re.compile("\r+\n?")

_LAYERS = 10
"""Damage upon damage that is undone: more than was ever seen in a tweet, few enough that no text takes long."""
_ENCODINGS = 4
"""Wrong encodings, one within the other, that are undone in the first layer; in each further one it is one."""


def repair(text: str) -> tuple[str, frozenset[str]]:
    """The text mended, and the kinds of repair that changed it. `repair` of its own result changes nothing.

    In this order, over again until nothing changes, since one damage may hide another (a text made to have more layers
    than `_LAYERS` keeps the rest, so that time grows with its length and no faster):

    - `line_break`: CR, CRLF and CRCRLF to a newline, the only line break that Twitter has.
    - `utf8`: UTF-8 that was read as latin-1, where the whole text goes back.
    - `mojibake`: what ftfy mends: UTF-8 read as another encoding in parts, C1 control characters for Windows-1252
      punctuation, NUL and other control characters, lone surrogates, Unicode not in NFC. Curly quotes,
      ligatures and wide characters are the author's and stay.
    - `html`: entities; `&amp;amp;`, which is what escaping twice makes, goes back to `&`.
    """
    kinds: set[str] = set()
    for layer in range(_LAYERS):
        if text.isascii() and not _SUSPECT.search(text):
            break
        before = text
        fix = partial(_fix, encodings=1 if layer else _ENCODINGS)
        for kind, mended in (("line_break", _break_lines), ("utf8", _to_utf8), ("mojibake", fix), ("html", _unescape)):
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


def _fix(text: str, encodings: int) -> str:
    from ftfy import fix_text

    # Line by line, as ftfy does it.
    decoded = "".join(_decode(line, encodings) for line in io.StringIO(text, newline="\n"))
    return fix_text(decoded, _config()._replace(fix_encoding=False))


def _decode(line: str, encodings: int) -> str:
    """`ftfy.fix_encoding`, which goes on for as many steps as a line has characters where one is made so."""
    from ftfy import _fix_encoding_one_step_and_explain as step

    for _ in range(encodings):
        before, line = line, step(line, _config()).text
        if line == before:
            break
    return line


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
