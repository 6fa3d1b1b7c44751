"""Texts that could take superlinear time, for the tests and for `benchmarks/growth.py`."""

from collections.abc import Callable

Hostile = Callable[[int], str]
"""Makes a text of about the given number of characters."""


def repeated(piece: str) -> Hostile:
    """`piece`, repeated."""
    return lambda size: piece * (size // len(piece))


# For the expressions of this code base: mentions, hashtags, URLs, contractions, punctuation, white space.
PIECES = ["@", "#", ".", ":", "'", "’", "&", "a", "1", " ", "😀", "a.", "www.", "http://", "https:", "RT ", "it's "]
PIECES += ["a@", "👩\u200d", "@_", ". ", "a" * 300 + ". ", "@a #b http://t.co/x… can't &amp; Ã© 😀 "]
# For those of NLTK, which BERTweet's cleaning uses: addresses, telephone numbers, HTML, smileys.
PIECES_OF_NLTK = ['"', "+a", "1-", "<a ", "(1", "n't", " p . m ."]
# For repair: entities, line breaks, combining characters, surrogates, wrong encodings.
DAMAGE = ["&amp;", "&#", "\r", "é\n", "e\u0301", "\ud83d", "Ã©", "â\x80\x99", "â€™", "\x92", "Ã‚"]

WRITTEN: dict[str, Hostile] = {
    **{repr(piece[:20]): repeated(piece) for piece in PIECES},
    "an apostrophe after letters": lambda size: "a" * (size - 1) + "'",
    "an apostrophe after spaces": lambda size: " " * (size - 1) + "'",
}
DAMAGED: dict[str, Hostile] = {
    **{repr(piece): repeated(piece) for piece in DAMAGE},
    # Each layer of these is laid bare by the one before it.
    "escaped again": lambda size: "&" + "amp;" * (size // 4),
    "escaped within": lambda size: "&" * (size // 4) + "#" + "35;" * (size // 4),
    "misread on the left": lambda size: "Â" * (size // 4) + "©",
    "misread on the right": lambda size: "Ã" + "\x83" * (size // 4),
}
HOSTILE: dict[str, Hostile] = {**WRITTEN, **{repr(piece): repeated(piece) for piece in PIECES_OF_NLTK}, **DAMAGED}
