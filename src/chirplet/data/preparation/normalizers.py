"""Cleaning presets as normalizers of the `tokenizers` library, which a tokenizer has before its own.

A `tokenizer.json` with them cleans itself, so that everything that reads the file cleans alike: chirplet,
`transformers`, transformers.js. JavaScript has no inline flags, and `\\s`, `\\w`, `\\b`, `Strip` and `Lowercase` differ
between engines: expressions spell out what they match.

Artifacts have these lists in their files, and a file is known by them. A changed list is another preset.
"""

import json
import re
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from tokenizers.normalizers import Normalizer

Cleaning = Literal["none", "original_study", "twitter_roberta", "bertweet", "emoji"]
Step = dict[str, Any]
"""A normalizer as `tokenizer.json` has it."""

# The white space of `str.split`, and what `\w` is in Python, both for use in brackets.
_SPACE = r"\t-\r\u001c-\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_WORD = r"\p{L}\p{N}_"
_START, _END = f"(?<![{_WORD}])", f"(?![{_WORD}])"


def _any_case(text: str) -> str:
    return "".join(f"[{each.upper()}{each}]" if each.isalpha() else each for each in text)


# A full URL ends before the punctuation that follows it; one that Twitter cut (`https:/…`) is taken whole.
_HTTP = f"{_any_case('http')}[Ss]?:"
_URL = rf"(?:{_HTTP}//|{_START}{_any_case('www')}\.)[^{_SPACE}]*[{_WORD}/…]|{_START}{_HTTP}[/…][^{_SPACE}]*"
URL = re.compile(_URL.replace(_WORD, r"\w"))
"""What the presets replace as a URL."""


def _replace(expression: str, content: str) -> Step:
    return {"type": "Replace", "pattern": {"Regex": expression}, "content": content}


def _ending(stem: str, ending: str, content: str) -> Step:
    """Replace the ending of a word, in any case, after the expression `stem`."""
    return _replace(f"{stem}{_any_case(ending)}{_END}", content)


# Not in an e-mail address, and not a lone `@`.
_MENTION = _replace("(?<![A-Za-z0-9_@])@[A-Za-z0-9_]+", "@user")
_ONE_SPACE = [_replace(f"[{_SPACE}]+", " "), _replace("^ | $", "")]

_LETTER = "(?<=[A-Za-z])"
_PRONOUNS = ("it", "he", "she", "that", "this", "there", "here", "what", "who", "where", "when", "why", "how")
_CONTRACTIONS = [
    # The irregular ones first; `n't` would leave `ca not`.
    *(
        _ending(_START, short, full)
        for short, full in (
            ("can't", "can not"),
            ("won't", "will not"),
            ("shan't", "shall not"),
            ("ain't", "is not"),
            ("let's", "let us"),
            ("y'all", "you all"),
        )
    ),
    _ending(_LETTER, "n't", " not"),
    _ending(_LETTER, "'re", " are"),
    _ending(_LETTER, "'ll", " will"),
    _ending(_LETTER, "'ve", " have"),
    _ending(_START, "i'm", "i am"),
    _ending(_LETTER, "'d", " would"),
    # After any other word `'s` may be a possessive. Oniguruma allows no look-behind within one.
    _ending(
        "(?<=" + "|".join(f"{start}{_any_case(word)}" for word in _PRONOUNS for start in ("^", f"[^{_WORD}]")) + ")",
        "'s",
        " is",
    ),
]

NORMALIZERS: dict[Cleaning, list[Step]] = {
    "none": [],
    # The model card's `@user` and `http`, also for mentions and URLs next to punctuation.
    "twitter_roberta": [_replace(_URL, "http"), _MENTION, *_ONE_SPACE],
    # The eight rules of the original study, in its order. Punctuation is that of Unicode, and ASCII symbols. It does
    # not include emoji, currency signs and the vowel signs of Indic scripts, which the original's `[^\w\s]` removed.
    "original_study": [
        _replace("[’‘ʼ＇`´]", "'"),
        *_CONTRACTIONS,
        _replace(_URL, " http "),
        _replace(f"(?<![{_WORD}#@])RT{_END}", " "),
        _MENTION,
        _replace(f"#(?=[{_WORD}])", ""),
        _replace(r"(?![!?.,'@])[\p{P}$+<=>^`|~]", " "),
        *_ONE_SPACE,
        _replace("Σ", "σ"),  # JavaScript would make another letter of it at the end of a word
        {"type": "Lowercase"},
    ],
}
"""The presets that a `tokenizer.json` can have."""


@cache
def normalizer(preset: Cleaning) -> "Normalizer":
    """The preset as one normalizer: `normalize_str` cleans a text.

    Raises:
        KeyError: the preset is not in `NORMALIZERS`.
    """
    from tokenizers.normalizers import Sequence

    sequence = Sequence([])
    sequence.__setstate__(json.dumps({"type": "Sequence", "normalizers": NORMALIZERS[preset]}).encode())
    return sequence


def clean_inside(tokenizer: Any, preset: Cleaning) -> None:
    """Let a tokenizer clean with a preset, in place of the one that it cleans with, where it can (`cleans_inside`).

    Args:
        tokenizer: one of `transformers`, or chirplet's of a `tokenizer.json`.
        preset: the preset.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        _put(backend, preset if preset in NORMALIZERS else "none")
    elif hasattr(tokenizer, "normalization"):  # BERTweet's
        tokenizer.normalization = tokenizer.init_kwargs["normalization"] = preset == "bertweet"


def cleans_inside(tokenizer: Any, preset: Cleaning) -> bool:
    """Whether a tokenizer cleans with a preset itself, so that texts must not be cleaned before.

    This alone decides where texts are cleaned. Those of BERTweet can have the preset `bertweet`, those with a
    `tokenizer.json` all of `NORMALIZERS`. The files of older artifacts have no cleaning.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        return preset in NORMALIZERS and _preset_of(backend) == preset
    return preset == "none" or (preset == "bertweet" and getattr(tokenizer, "normalization", False) is True)


def _put(backend: "Tokenizer", preset: Cleaning) -> None:
    from tokenizers import AddedToken
    from tokenizers.normalizers import Sequence

    own = _parts(backend)[len(NORMALIZERS[_preset_of(backend)]) :]
    together = [*_parts_of(normalizer(preset)), *own]
    alone = together[0] if together else None
    backend.normalizer = Sequence(together) if len(together) > 1 else alone
    # The tokens that are looked for in normalized texts are normalized first. One that the preset changes, as `<s>`
    # without its brackets, would be found in any word.
    for token in backend.get_added_tokens_decoder().values():
        if token.normalized and normalizer(preset).normalize_str(token.content) != token.content:
            unchanged = {name: getattr(token, name) for name in ("single_word", "lstrip", "rstrip", "special")}
            add = backend.add_special_tokens if token.special else backend.add_tokens
            add([AddedToken(token.content, normalized=False, **unchanged)])


def _preset_of(backend: "Tokenizer") -> Cleaning:
    """The preset at the head of a tokenizer's normalizers."""
    parts = _parts(backend)
    return next((preset for preset in NORMALIZERS if _begin_with(parts, _states(preset))), "none")


def _begin_with(parts: "list[Normalizer]", states: list[bytes]) -> bool:
    """Whether the first normalizers are in these states, of which there are some."""
    return 0 < len(states) <= len(parts) and all(
        part.__getstate__() == state for part, state in zip(parts, states, strict=False)
    )


@cache
def _states(preset: Cleaning) -> list[bytes]:
    return [part.__getstate__() for part in _parts_of(normalizer(preset))]


def _parts(backend: "Tokenizer") -> "list[Normalizer]":
    """The normalizers of a tokenizer, in order."""
    return [] if backend.normalizer is None else _parts_of(backend.normalizer)


def _parts_of(whole: "Normalizer") -> "list[Normalizer]":
    from tokenizers.normalizers import Sequence

    return [whole[i] for i in range(len(whole))] if isinstance(whole, Sequence) else [whole]
