"""Texts as token ids."""

import json
import os
import re
from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from chirplet.data.preparation.cleaning import cleaner
from chirplet.data.preparation.normalizers import Cleaning, cleans_inside
from chirplet.system.error import DataError
from chirplet.system.progress import Progress

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHUNK = 2048
"""Tweets per call of the tokenizer: enough to keep its threads busy with little memory."""
MOST_CHARACTERS = 5_000_000
"""Characters of a text. The expressions of cleaning panic where one fails 10 million times at the same place."""
UNCUT = 2**20
"""A maximum length in tokens that no text reaches."""


@dataclass(frozen=True)
class Tokens:
    """Concatenated token ids of n tweets: tweet i is `values[offsets[i]:offsets[i + 1]]`.

    `values` has shape (total,), int32; `offsets` shape (n + 1,), int64. Both may be views of a mapped file. `truncated`
    is the number of tweets that were longer.
    """

    values: NDArray[np.int32]
    offsets: NDArray[np.int64]
    truncated: int = 0

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, position: int) -> NDArray[np.int32]:
        return self.values[self.offsets[position] : self.offsets[position + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens per tweet, with special tokens; shape (n,)."""
        return np.diff(self.offsets)


class Encoder(Protocol):
    """A tokenizer: maps texts to a mapping with `input_ids`, one list of ids per text."""

    def __call__(
        self,
        texts: list[str],
        *,
        truncation: bool,
        max_length: int,
        return_attention_mask: bool,
        return_token_type_ids: bool,
    ) -> Any: ...


def tokenize(
    texts: Iterable[str], tokenizer: "PreTrainedTokenizerBase | Encoder", preset: Cleaning, max_length: int
) -> Tokens:
    """Clean and tokenize tweets, with special tokens, truncated to `max_length` tokens.

    Tweets are cleaned by the tokenizer if it has the preset (`cleans_inside`), and before it otherwise.

    Raises:
        DataError: one has more than `MOST_CHARACTERS`.
    """
    with Progress("tokenizing", len(texts) if isinstance(texts, Sized) else None) as progress:
        parts = [*_encoded(progress(texts), tokenizer, preset, max_length)]
    lengths = np.concatenate([np.zeros(1, np.int64), *(part.lengths for part in parts)])
    values = np.concatenate([np.zeros(0, np.int32), *(part.values for part in parts)])
    return Tokens(values, np.cumsum(lengths), sum(part.truncated for part in parts))


def _encoded(
    texts: Iterable[str], tokenizer: "PreTrainedTokenizerBase | Encoder", preset: Cleaning, max_length: int
) -> Iterator[Tokens]:
    """The tokens of each chunk of texts."""
    clean = None if cleans_inside(tokenizer, preset) else cleaner(preset)
    for chunk in _chunks(texts):
        _check_length(max(chunk, key=len))
        answer = tokenizer(
            chunk if clean is None else [clean(text) for text in chunk],
            truncation=True,
            max_length=max_length + 1,  # shows which texts are longer, without the memory for all of them
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        rows = answer["input_ids"]
        long = [position for position, row in enumerate(rows) if len(row) > max_length]
        if long:
            behind = len(special_tokens(tokenizer)[1])
            for position in long:
                del rows[position][max_length - behind : max_length + 1 - behind]
        offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
        values = np.fromiter(chain.from_iterable(rows), np.int32, count=int(offsets[-1]))
        yield Tokens(values, offsets, len(long))


def _check_length(longest: str) -> None:
    if len(longest) > MOST_CHARACTERS:
        raise DataError(
            f"texts: got one of {len(longest):,} characters ({longest[:20]!r}...), "
            f"should be at most {MOST_CHARACTERS:,}; shorten it, or leave it out"
        )


def special_tokens(tokenizer: "PreTrainedTokenizerBase | Encoder") -> tuple[list[int], list[int]]:
    """The special tokens that a tokenizer puts before and behind each text."""
    both = tokenizer(
        ["", "a"], truncation=True, max_length=UNCUT, return_attention_mask=False, return_token_type_ids=False
    )
    special, text = both["input_ids"]
    start = next((i for i, pair in enumerate(zip(special, text, strict=False)) if pair[0] != pair[1]), len(special))
    return special[:start], special[start:]


def save_tokenizer(tokenizer: "PreTrainedTokenizerBase", folder: Path) -> tuple[str, ...]:
    """Write the tokenizer as it is, and return the files.

    A tokenizer of the `tokenizers` library would also save the truncation and padding of its last call, so that the
    files would depend on whether the tokens were in the cache. They are reset first. Its files name the class that
    reads `tokenizer.json` as it is, since most classes of `transformers` make normalizers of their own.

    Raises:
        OSError: the disk is full, or the folder is not writable.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        backend.no_truncation()
        backend.no_padding()
    try:
        files = tuple(tokenizer.save_pretrained(folder))
        if backend is not None:
            read_as_written(folder)
        return files
    except Exception as error:
        # The tokenizers library raises a plain Exception if the disk is full.
        number = re.search(r"\(os error (\d+)\)$", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def read_as_written(folder: Path) -> None:
    """Let a folder's `tokenizer_config.json` name the class that reads `tokenizer.json` as it is.

    The name is known to `transformers` 4 and 5, and to transformers.js.
    """
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings |= {"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": ["input_ids", "attention_mask"]}
    path.write_text(json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _chunks(texts: Iterable[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    for text in texts:
        chunk.append(text)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
