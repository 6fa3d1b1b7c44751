"""Token ids on disk: each tweet is cleaned and tokenized once, then memory-mapped."""

import hashlib
import json
import logging
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from chirplet.data.base import Examples
from chirplet.data.preparation.cleaning import cleaner, fingerprint
from chirplet.data.preparation.normalizers import Cleaning, cleans_inside
from chirplet.system.cache_files import locked_folder, write_atomically
from chirplet.system.error import first_line
from chirplet.system.hashing import texts_hash
from chirplet.system.progress import Progress

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

FORMAT_VERSION = 2
CHUNK = 2048
"""Tweets per call of the tokenizer: enough to keep its threads busy with little memory."""
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
    """
    with Progress("tokenizing", len(texts) if isinstance(texts, Sized) else None) as progress:
        column, truncated = _joined(_encode(progress(texts), tokenizer, preset, max_length))
    return _from_column(column, truncated)


def special_tokens(tokenizer: "PreTrainedTokenizerBase | Encoder") -> tuple[list[int], list[int]]:
    """The special tokens that a tokenizer puts before and behind each text."""
    both = tokenizer(
        ["", "a"], truncation=True, max_length=UNCUT, return_attention_mask=False, return_token_type_ids=False
    )
    special, text = both["input_ids"]
    start = next((i for i, pair in enumerate(zip(special, text, strict=False)) if pair[0] != pair[1]), len(special))
    return special[:start], special[start:]


def cached_tokens(
    tweets: Examples,
    tokenizer: "PreTrainedTokenizerBase",
    preset: Cleaning,
    max_length: int,
    cache_dir: Path,
) -> Tokens:
    """The tokens of `tweets`, from an Arrow file that is written on first use.

    The file's key covers the texts, the cleaning rules, the tokenizer's files and `max_length`. If two processes need
    the file at the same time, one writes it and the other waits.
    """
    parts = (
        str(FORMAT_VERSION),
        texts_hash(tweets.text),
        fingerprint(preset),
        tokenizer_hash(tokenizer),
        str(max_length),
    )
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    with locked_folder(cache_dir / "tokens") as folder:
        path = folder / f"{key}.arrow"
        if path.exists():
            try:
                return open_tokens(path)
            except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
                logger.warning("the cache entry %s is damaged (%s) and is written again", path, first_line(error))
        with Progress("tokenizing", len(tweets)) as progress:
            _write(path, _encode(progress(tweets.text), tokenizer, preset, max_length))
        return open_tokens(path)


def open_tokens(path: Path) -> Tokens:
    """Map a token file written by `cached_tokens`.

    Raises:
        pyarrow.ArrowException: the file is damaged.
    """
    table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    column = table.column("input_ids")
    column.validate(full=True)
    return _from_column(column, int(table.schema.metadata[_TRUNCATED]))


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


def tokenizer_hash(tokenizer: "PreTrainedTokenizerBase") -> str:
    """SHA-256 of the files that the tokenizer saves."""
    digest = hashlib.sha256()
    with tempfile.TemporaryDirectory() as folder:
        for name in sorted(save_tokenizer(tokenizer, Path(folder))):
            digest.update(Path(name).name.encode())
            digest.update(Path(name).read_bytes())
    return digest.hexdigest()


_TYPE = pa.large_list(pa.int32())
_TRUNCATED = b"truncated"


def _encode(
    texts: Iterable[str], tokenizer: "PreTrainedTokenizerBase | Encoder", preset: Cleaning, max_length: int
) -> Iterator[tuple[pa.Array, int]]:
    """The token ids of each chunk of texts, and how many of its texts were truncated."""
    clean = None if cleans_inside(tokenizer, preset) else cleaner(preset)
    for chunk in _chunks(texts):
        encoded = tokenizer(
            chunk if clean is None else [clean(text) for text in chunk],
            truncation=True,
            max_length=max_length + 1,  # shows which texts are longer, without the memory for all of them
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        rows = encoded["input_ids"]
        long = [position for position, row in enumerate(rows) if len(row) > max_length]
        if long:
            behind = len(special_tokens(tokenizer)[1])
            for position in long:
                del rows[position][max_length - behind : max_length + 1 - behind]
        yield pa.array(rows, type=_TYPE), len(long)


def _joined(chunks: Iterable[tuple[pa.Array, int]]) -> tuple[pa.ChunkedArray, int]:
    arrays, truncated = [], 0
    for array, long in chunks:
        arrays.append(array)
        truncated += long
    return pa.chunked_array(arrays, type=_TYPE), truncated


def _chunks(texts: Iterable[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    for text in texts:
        chunk.append(text)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _write(path: Path, chunks: Iterable[tuple[pa.Array, int]]) -> None:
    joined, truncated = _joined(chunks)
    # Arrow can map a single batch without a copy; several would be copied into one array.
    column = joined.combine_chunks()
    schema = pa.schema([("input_ids", _TYPE)], {_TRUNCATED: str(truncated)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.record_batch([column], schema=schema))
    write_atomically(sink.getvalue(), path)


def _from_column(column: pa.ChunkedArray, truncated: int) -> Tokens:
    array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], type=_TYPE)
    offsets = array.offsets.to_numpy()
    return Tokens(values=array.values.to_numpy(), offsets=offsets, truncated=truncated)
