"""Cleaning presets, applied to repaired tweets before tokenization.

A model works best with the cleaning of its pretraining, so its YAML names a preset. All presets are pure functions of
the text.
"""

import hashlib
import re
import string
import unicodedata
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from typing import Any, Literal

from chirplet.system.optional_dependency import needs

Cleaning = Literal["none", "original_study", "twitter_roberta", "bertweet", "emoji"]

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


def clean(text: str, preset: Cleaning) -> str:
    """Clean a text with a preset."""
    return CLEANINGS[preset](text)


def fingerprint(preset: Cleaning) -> str:
    """Identifies the rules of a preset in cache keys.

    The version of the rules is maintained by hand, because a hash of the source would change with every comment; tests
    compare each preset with recorded results. The versions of the libraries that a preset depends on are included.
    """
    libraries = [f"{name}={version(name)}" for name in _LIBRARIES.get(preset, ())]
    return hashlib.sha256("/".join([preset, str(_VERSIONS[preset]), *libraries]).encode()).hexdigest()[:16]


def _none(text: str) -> str:
    return text


def _original_study(text: str) -> str:
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


def _twitter_roberta(text: str) -> str:
    """The model card's `@user` and `http`, also for mentions and URLs next to punctuation."""
    return " ".join(_MENTION.sub("@user", URL.sub("http", text)).split())


def _bertweet(text: str) -> str:
    """The normalisation of BERTweet's pretraining, after very long words are split.

    Source: `BertweetTokenizer.normalizeTweet` of transformers, after https://github.com/VinAIResearch/BERTweet.
    """
    text = _with_short_words(text)
    words = _tweet_tokenizer().tokenize(text.replace("’", "'").replace("…", "..."))
    text = " ".join(map(_bertweet_word, words))
    # The trailing spaces are the original's, which does not change a contraction at the end of a tweet.
    for pattern, replacement in _BERTWEET_SPACING:
        text = text.replace(pattern, replacement)
    return " ".join(text.split())


LONGEST_WORD = 256
"""Maximum characters of a word: the original's expressions for addresses take time cubic in a word's length, and joined
emoji take quadratic time."""
_LONG_WORD = re.compile(r"\S+")


def _with_short_words(text: str) -> str:
    return _LONG_WORD.sub(_cut, text) if len(text) > LONGEST_WORD else text


def _cut(word: re.Match[str]) -> str:
    text = word[0]
    return " ".join(text[start : start + LONGEST_WORD] for start in range(0, len(text), LONGEST_WORD))


_BERTWEET_SPACING = (
    ("cannot ", "can not "),
    ("n't ", " n't "),
    ("n 't ", " n't "),
    ("ca n't", "can't"),
    ("ai n't", "ain't"),
    *((f"'{ending} ", f" '{ending} ") for ending in ("m", "re", "s", "ll", "d", "ve")),
    (" p . m .", "  p.m."),
    (" p . m ", " p.m "),
    (" a . m .", " a.m."),
    (" a . m ", " a.m "),
)


def _bertweet_word(word: str) -> str:
    from emoji import demojize

    if word.startswith("@"):
        return "@USER"
    if word.lower().startswith(("http", "www")):
        return "HTTPURL"
    return demojize(word) if len(word) == 1 else word


def _emoji(text: str) -> str:
    """Each emoji becomes the words of its English name, as in `demojize` of https://github.com/carpedm20/emoji."""
    from emoji import replace_emoji

    if not text.isascii():
        words = _with_short_words(text).split()
        text = " ".join(word if word.isascii() else replace_emoji(word, _name) for word in words)
    return " ".join(text.split())


def _name(_: str, emoji: dict[str, str]) -> str:
    return f" {emoji['en'].strip(':').replace('_', ' ')} "


@cache
def _tweet_tokenizer() -> Any:
    # NLTK's tokenizer as copied by transformers for BERTweet; the import needs neither torch nor a vocabulary.
    with needs("cleaning of BERTweet: transformers", "pip install transformers"):
        from transformers.models.bertweet.tokenization_bertweet import TweetTokenizer

    return TweetTokenizer()


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

CLEANINGS: dict[Cleaning, Callable[[str], str]] = {
    "none": _none,
    "original_study": _original_study,
    "twitter_roberta": _twitter_roberta,
    "bertweet": _bertweet,
    "emoji": _emoji,
}
_VERSIONS: dict[Cleaning, int] = {"none": 1, "original_study": 1, "twitter_roberta": 1, "bertweet": 2, "emoji": 1}
_LIBRARIES: dict[Cleaning, tuple[str, ...]] = {"bertweet": ("transformers", "emoji"), "emoji": ("emoji",)}
