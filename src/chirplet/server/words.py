"""Which words of a text carried a label: occlusion by word.

The effect of a word is the label's probability for the text minus that for the text without the word, as in Li et al.
2016, "Understanding neural networks through representation erasure" (arXiv 1612.08220).
"""

import re
import unicodedata
from typing import NamedTuple

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from chirplet.server.errors import RequestError
from chirplet.server.exchange import Body, json_answer, models_of, read_json
from chirplet.server.routes import Documentation, Router

MOST_WORDS = 200
"""Words of a text: each is another text for the model to read."""

_WORD = re.compile("@?w(?:[w@sm]*[wm])?|cm*|o[om]*|[@sm]+")
"""A word as kinds of characters. Signs are inside of words, as in `don't` and in addresses, but not around them."""

router = Router()


class Words(Body):
    """A text, the name of a model (null is the first one), and a label (null is the one that the model gives)."""

    text: str
    model: str | None = None
    label: str | None = None


class Word(NamedTuple):
    """A word: its characters, `start` included, `end` not."""

    text: str
    start: int
    end: int


class Effect(BaseModel):
    """A word, as `Word` has it, and the probability that the label loses without it."""

    text: str
    start: int
    end: int
    effect: float


class Effects(BaseModel):
    """The words in the order of the text, with the model's name, the artifact's id, and the label."""

    model: str
    id: str
    label: str
    words: list[Effect]


@router.post("/v1/words", Documentation(Effects, Words, errors=(401, 404, 413, 422, 429, 500)))
async def words(request: Request) -> Response:
    """The effect of each word of a text on the probability of a label."""
    sent = await read_json(request, Words)
    model = models_of(request).named(sent.model)
    found = words_of(sent.text)
    most = min(MOST_WORDS, model.limits.max_texts - 1)
    if len(found) > most:
        raise RequestError(413, f"text: got {len(found):,} words, should be at most {most:,}")
    answers = await model.classify([sent.text, *(without(sent.text, word) for word in found)])
    label = answers.label[0] if sent.label is None else sent.label
    if label not in answers.labels:
        raise RequestError(422, f"label: got {label[:200]!r}, should be one of {', '.join(answers.labels)}")
    probabilities = answers.probabilities[:, answers.labels.index(label)]
    effects = (probabilities[0] - probabilities[1:]).tolist()
    listed = [{**word._asdict(), "effect": effect} for word, effect in zip(found, effects, strict=True)]
    return json_answer({"model": model.name, "id": answers.id, "label": label, "words": listed})


def words_of(text: str) -> list[Word]:
    """The words of a text: what is between spaces, without the signs around it, which are a word of their own.

    A character of Chinese or Japanese, which are written without spaces, is a word.
    """
    found = []
    for part in re.finditer(r"\S+", text):
        kinds = "".join(map(_kind, part[0]))
        for match in _WORD.finditer(kinds):
            start, end = part.start() + match.start(), part.start() + match.end()
            found.append(Word(text[start:end], start, end))
    return found


def without(text: str, word: Word) -> str:
    """The text without a word, and without a space that it leaves at the start, at the end or beside another."""
    before, behind = text[: word.start], text[word.end :]
    if not before or before[-1].isspace():
        behind = behind.lstrip()
    return before + behind if behind else before.rstrip()


def _kind(character: str) -> str:
    """The kind of a character.

    Returns:
        `w` for letters and digits, `c` for one that is a word by itself, `@` for what begins a word, `s` for other
        signs, `m` for marks on the character before, `o` for what is left: emoji.
    """
    if character.isascii():
        return "w" if character.isalnum() else "@" if character in "@#" else "s"
    category = unicodedata.category(character)
    if category[0] in "LN":
        return "c" if unicodedata.name(character, "").startswith(("CJK ", "HIRAGANA ", "KATAKANA ")) else "w"
    if category[0] == "P":
        return "s"
    return "m" if category in ("Mn", "Mc", "Me", "Cf", "Sk") else "o"
