"""Repair texts that were damaged by exports, wrong encodings and HTML escaping."""

import html
import io
import re
from collections.abc import Callable
from functools import cache, partial
from html.entities import html5
from typing import TYPE_CHECKING
from unicodedata import is_normalized

if TYPE_CHECKING:
    from ftfy import TextFixerConfig

ENCODING_KINDS = frozenset({"bytes", "utf8", "mojibake"})
"""Repairs of wrong encodings. `bytes` is done by the reader (see `chirplet.data.table.reader.Row`)."""

# ASCII text without these needs no repair: carriage returns, entities, control characters except \t, \n and \f.
_SUSPECT = re.compile("[&\r\x00-\x08\x0b\x0e-\x1f\x7f]")
# What `ftfy.fix_text` changes with `_config`, if the encoding is right and the text is in NFC: control characters of
# ASCII and of C1, those of formatting that it removes, and surrogates.
_CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\u206a-\u206f\ufeff\ufff9-\ufffc\ud800-\udfff]")
_LINE_BREAK = re.compile("\r+\n?")

# A name without `;` may be the start of a word (`&notthat`) or a parameter of a URL (`&copy=2`), even where HTML
# decodes it. Ten digits are more than any character has; `int` refuses thousands of them.
_ENTITY = re.compile(r"&(?:#[0-9]{1,10}|#[xX][0-9a-fA-F]{1,8}|[A-Za-z][A-Za-z0-9]*);|&(?:amp|lt|gt|quot)(?![^\W_]|=)")

REPAIR_VERSION = 2
"""Incremented when a text is repaired in another way: part of the key of prepared corpora."""

_LAYERS = 10
"""Maximum number of repair passes: more than any real tweet needs, and few enough to bound the time."""
_ENCODINGS = 4
"""Maximum number of nested wrong encodings undone in the first pass; later passes undo one."""


def repair(text: str) -> tuple[str, frozenset[str]]:
    """The repaired text, and the kinds of repair that changed it. `repair` is idempotent.

    These repairs are applied in order and repeated until nothing changes, because one damage may hide another. After
    `_LAYERS` passes the rest is left, so that the time is linear in the text's length.

    - `line_break`: CR, CRLF and CRCRLF become a newline, Twitter's only line break.
    - `utf8`: UTF-8 that was read as latin-1, if the whole text can be converted back.
    - `mojibake`: repairs of ftfy: parts of UTF-8 read as another encoding, C1 control characters instead of
      Windows-1252 punctuation, NUL and other control characters, lone surrogates, Unicode not in NFC. Curly quotes,
      ligatures and wide characters are not changed.
    - `html`: entities that end in `;`, and `&amp`, `&lt`, `&gt` and `&quot` without it where no letter, digit or `=`
      follows; `&amp;amp;`, the result of escaping twice, becomes `&`.
    """
    kinds: set[str] = set()
    unchanged = 0
    for layer in range(_LAYERS):
        start = text
        for kind, step in _LATER if layer else _FIRST:
            # No step changes what all have left as it is.
            if unchanged == len(_FIRST) or (text.isascii() and not _SUSPECT.search(text)):
                return text, frozenset(kinds)
            before, text = text, step(text)
            unchanged += 1
            if text != before:
                kinds.add(kind)
                unchanged = 0
        if text == start:
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
    # Line by line, as in ftfy.
    if not text.isascii():
        text = "".join(_decode(line, encodings) for line in io.StringIO(text, newline="\n"))
    if not _CONTROL.search(text) and is_normalized("NFC", text):
        return text
    import ftfy

    return ftfy.fix_text(text, _config()._replace(fix_encoding=False))


def _decode(line: str, encodings: int) -> str:
    """`ftfy.fix_encoding` with a limit, because a crafted line could need as many steps as it has characters."""
    import ftfy

    for _ in range(0 if line.isascii() else encodings):
        before, line = line, ftfy._fix_encoding_one_step_and_explain(line, _config()).text
        if line == before:
            break
    return line


def _unescape(text: str) -> str:
    return _ENTITY.sub(_decoded, text) if "&" in text else text


def _decoded(entity: re.Match[str]) -> str:
    name = entity[0][1:]
    # `html.unescape` would decode the `not` of the unknown `&notthat;`.
    return html.unescape(entity[0]) if name.startswith("#") or name in html5 else entity[0]


Steps = tuple[tuple[str, Callable[[str], str]], ...]


def _steps(encodings: int) -> Steps:
    fix = partial(_fix, encodings=encodings)
    return (("line_break", _break_lines), ("utf8", _to_utf8), ("mojibake", fix), ("html", _unescape))


_FIRST, _LATER = _steps(_ENCODINGS), _steps(1)
"""The kinds and steps of the first pass, and of the later ones."""


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
