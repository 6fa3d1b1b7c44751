"""The presets of `chirplet.data.preparation.normalizers`, written with Python's `re` and `str`, for comparison."""

import re
import string
import unicodedata

# A full URL ends before the punctuation that follows it; one that Twitter cut (`https:/…`) is taken whole.
URL = re.compile(r"(?:https?://|\bwww\.)\S*[\w/…]|\bhttps?:[/…]\S*", re.IGNORECASE)
# Not in an e-mail address, and not a lone `@`.
_MENTION = re.compile(r"(?<![A-Za-z0-9_@])@[A-Za-z0-9_]+")
_HASHTAG = re.compile(r"#(?=\w)")
_RETWEET = re.compile(r"(?<![\w#@])RT(?!\w)")
_APOSTROPHE = re.compile("[’‘ʼ＇`´]")

_PRONOUNS = "it|he|she|that|this|there|here|what|who|where|when|why|how"
_CONTRACTIONS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), full)
    for pattern, full in (
        # The irregular ones first; `n't` would leave `ca not`.
        (r"\bcan't\b", "can not"),
        (r"\bwon't\b", "will not"),
        (r"\bshan't\b", "shall not"),
        (r"\bain't\b", "is not"),
        (r"\blet's\b", "let us"),
        (r"\by'all\b", "you all"),
        (r"(?<=[a-z])n't\b", " not"),
        (r"(?<=[a-z])'re\b", " are"),
        (r"(?<=[a-z])'ll\b", " will"),
        (r"(?<=[a-z])'ve\b", " have"),
        (r"(?<=\bi)'m\b", " am"),
        (r"(?<=[a-z])'d\b", " would"),
        # After any other word `'s` may be a possessive.
        (rf"\b({_PRONOUNS})'s\b", r"\1 is"),
    )
)


def original_study(text: str) -> str:
    """The eight rules of the original study, in its order."""
    text = _APOSTROPHE.sub("'", text)
    if "'" in text:  # saves thirteen searches for most tweets
        for pattern, full in _CONTRACTIONS:
            text = pattern.sub(full, text)
    text = URL.sub(" http ", text)
    text = _RETWEET.sub(" ", text)
    text = _MENTION.sub("@user", text)
    text = _HASHTAG.sub("", text)
    text = text.translate(_PUNCTUATION)
    return " ".join(text.split()).lower()


def twitter_roberta(text: str) -> str:
    """The model card's `@user` and `http`, also for mentions and URLs next to punctuation."""
    return " ".join(_MENTION.sub("@user", URL.sub("http", text)).split())


class _Punctuation(dict[int, int]):
    """A translation table, filled on demand, of punctuation except `!?.,'@` to a space.

    Punctuation is that of Unicode, and ASCII symbols. It does not include emoji, currency signs and the vowel signs of
    Indic scripts, which the original's `[^\\w\\s]` removed.
    """

    def __missing__(self, code: int) -> int:
        character = chr(code)
        marks = unicodedata.category(character).startswith("P") or character in string.punctuation
        self[code] = ord(" ") if marks and character not in "!?.,'@" else code
        return self[code]


_PUNCTUATION = _Punctuation()


IN_PYTHON = {"original_study": original_study, "twitter_roberta": twitter_roberta}
