"""Tokens that the tokenizer does not know, and texts that are longer than the model reads."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chirplet.data.batching.tokens import Encoder, Tokens, special_tokens
from chirplet.data.preparation.normalizers import Cleaning

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MANY_UNKNOWN = 0.01
"""A share of unknown tokens above which a remedy is named."""


@dataclass(frozen=True)
class TokenCounts:
    """Counts of texts, of those `longer` than `max_length`, of tokens but special ones, and of `unknown` tokens."""

    texts: int = 0
    longer: int = 0
    tokens: int = 0
    unknown: int = 0

    def __add__(self, other: "TokenCounts") -> "TokenCounts":
        return TokenCounts(
            self.texts + other.texts,
            self.longer + other.longer,
            self.tokens + other.tokens,
            self.unknown + other.unknown,
        )

    @property
    def unknown_share(self) -> float:
        """The share of tokens that are unknown."""
        return self.unknown / max(self.tokens, 1)

    def notes(self, max_length: int, long: str, cleaning: Cleaning) -> list[str]:
        """What the model cannot read of the texts, in lines: none where it reads everything.

        Args:
            max_length: the most tokens of a text that the model reads.
            long: what becomes of longer texts.
            cleaning: the preset that the texts were cleaned with.
        """
        lines = []
        if self.longer:
            lines.append(f"{self.longer:,} of {self.texts:,} texts are longer than {max_length} tokens; {long}")
        if self.unknown:
            share = self.unknown_share
            line = f"{self.unknown:,} of {self.tokens:,} tokens ({share:.2%}) are unknown to the tokenizer"
            remedy = "training with model.cleaning=emoji reads emoji as words"
            if cleaning == "emoji":
                remedy = "the tokenizer of another model may know them"
            lines.append(line if share <= MANY_UNKNOWN else f"{line}; {remedy}")
        return lines


class TokenCounter:
    """Counts the tokens of texts that a tokenizer encoded, truncated to `max_length` or not."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase | Encoder", max_length: int) -> None:
        before, behind = special_tokens(tokenizer)
        self.special = [*before, *behind]
        self.unknown = unknown_id(tokenizer)
        self.max_length = max_length

    def __call__(self, tokens: Tokens) -> TokenCounts:
        """The counts of these texts."""
        n = len(tokens)
        # The unknown token of a tokenizer may be one that it puts around every text, as GPT-2's.
        around = sum(token == self.unknown for token in self.special) * n
        unknown = 0 if self.unknown is None else int((tokens.values == self.unknown).sum()) - around
        longer = tokens.truncated + int((tokens.lengths > self.max_length).sum())
        return TokenCounts(n, longer, len(tokens.values) - len(self.special) * n, unknown)


def unknown_id(tokenizer: "PreTrainedTokenizerBase | Encoder") -> int | None:
    """The id that stands for what is not in the vocabulary; None if everything has tokens, as in a BPE of bytes."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:  # written in Python
        unknown: int | None = getattr(tokenizer, "unk_token_id", None)
        return unknown
    if type(backend.model).__name__ == "Unigram":  # has no attribute for it
        of_model: int | None = json.loads(backend.to_str())["model"]["unk_id"]
        return of_model
    token = backend.model.unk_token
    named: int | None = None if token is None else backend.token_to_id(token)
    return named
