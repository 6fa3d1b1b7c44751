"""Cleaning presets, applied to repaired texts before tokenization.

A model works best with the cleaning of its pretraining, so its YAML names a preset. All presets are pure functions of
the text. Those that are lists of normalizers are in `normalizers`, and a `tokenizer.json` can have them; the others are
here.
"""

import hashlib
import json
import re
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from typing import Any

from chirplet.data.preparation.normalizers import NORMALIZERS, Cleaning, normalizer
from chirplet.system.optional_dependency import needs


def clean(text: str, preset: Cleaning) -> str:
    """Clean a text with a preset."""
    return cleaner(preset)(text)


def cleaner(preset: Cleaning) -> Callable[[str], str]:
    """The function that cleans a text with a preset."""
    return _CODE[preset] if preset in _CODE else normalizer(preset).normalize_str


def fingerprint(preset: Cleaning) -> str:
    """Identifies the rules of a preset in cache keys.

    The version of rules in code is maintained by hand, because a hash of the source would change with every comment.
    The versions of the libraries that they depend on are included.
    """
    if preset in NORMALIZERS:
        rules = [json.dumps(NORMALIZERS[preset])]
    else:
        rules = [str(_VERSIONS[preset]), *(f"{name}={version(name)}" for name in _LIBRARIES[preset])]
    return hashlib.sha256("/".join([preset, *rules]).encode()).hexdigest()[:16]


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


_CODE: dict[Cleaning, Callable[[str], str]] = {"bertweet": _bertweet, "emoji": _emoji}
_VERSIONS: dict[Cleaning, int] = {"bertweet": 2, "emoji": 1}
_LIBRARIES: dict[Cleaning, tuple[str, ...]] = {"bertweet": ("transformers", "emoji"), "emoji": ("emoji",)}
