"""Token ids on disk: each tweet cleaned and tokenised once, memory-mapped from then on."""

import hashlib
import logging
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from chirplet.data.base import Examples
from chirplet.data.preparation import cleaning
from chirplet.system.cache_files import locked_folder, write_atomically
from chirplet.system.error import first_line
from chirplet.system.hashing import texts_hash

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1
CHUNK = 2048
"""Tweets handed to the tokenizer at once: enough to keep its threads busy, little enough to stay flat in memory."""
UNCUT = 2**20
"""A maximum length that no text reaches, in tokens."""


@dataclass(frozen=True)
class Tokens:
    """Token ids of n tweets, end to end: tweet i is `values[offsets[i]:offsets[i + 1]]`.

    `values` has shape (total,), int32; `offsets` shape (n + 1,), int64. Both may be views of a mapped file.
    """

    values: NDArray[np.int32]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, position: int) -> NDArray[np.int32]:
        return self.values[self.offsets[position] : self.offsets[position + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens per tweet, specials included; shape (n,)."""
        return np.diff(self.offsets)


class Encoder(Protocol):
    """What tweets are tokenised with: texts to a mapping with `input_ids`, a list of ids for each."""

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
    texts: Iterable[str], tokenizer: "PreTrainedTokenizerBase | Encoder", preset: cleaning.Cleaning, max_length: int
) -> Tokens:
    """Clean and tokenise tweets, specials included, cut at `max_length` tokens."""
    column = pa.chunked_array(list(_encode(texts, tokenizer, preset, max_length)), type=_TYPE)
    return _from_column(column)


def cached_tokens(
    tweets: Examples,
    tokenizer: "PreTrainedTokenizerBase",
    preset: cleaning.Cleaning,
    max_length: int,
    cache_dir: Path,
) -> Tokens:
    """The tokens of `tweets`, from an Arrow file that is made at first use.

    The file is keyed by the texts, the cleaning rules, the tokenizer's own files and `max_length`, so a change of any
    of them makes a new one. Two processes may ask at once: one writes, the other waits.
    """
    parts = (
        str(FORMAT_VERSION),
        texts_hash(tweets.text),
        cleaning.fingerprint(preset),
        tokenizer_hash(tokenizer),
        str(max_length),
    )
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    with locked_folder(cache_dir / "tokens") as folder:
        path = folder / f"{key}.arrow"
        if path.exists():
            try:
                return open_tokens(path)
            except (pa.ArrowException, KeyError) as error:
                logger.warning("the cache entry %s is damaged (%s) and is made again", path, first_line(error))
        _write(path, _encode(tweets.text, tokenizer, preset, max_length))
        return open_tokens(path)


def open_tokens(path: Path) -> Tokens:
    """Map a token file written by `cached_tokens`.

    Raises:
        pyarrow.ArrowException: it is damaged.
    """
    table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    column = table.column("input_ids")
    column.validate(full=True)
    return _from_column(column)


def save_tokenizer(tokenizer: "PreTrainedTokenizerBase", folder: Path) -> tuple[str, ...]:
    """Write the tokenizer as it was opened; gives the files.

    One of the `tokenizers` library keeps how it was last asked to cut and pad, and would save that too: its files would
    depend on whether the tokens were in the cache.

    Raises:
        OSError: the disk is full or the place cannot be written.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        backend.no_truncation()
        backend.no_padding()
    try:
        return tuple(tokenizer.save_pretrained(folder))
    except Exception as error:
        # What a full disk does to the tokenizers library's own writing is an exception without a class.
        number = re.search(r"\(os error (\d+)\)$", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def tokenizer_hash(tokenizer: "PreTrainedTokenizerBase") -> str:
    """SHA-256 over the files that the tokenizer saves of itself."""
    digest = hashlib.sha256()
    with tempfile.TemporaryDirectory() as folder:
        for name in sorted(save_tokenizer(tokenizer, Path(folder))):
            digest.update(Path(name).name.encode())
            digest.update(Path(name).read_bytes())
    return digest.hexdigest()


_TYPE = pa.large_list(pa.int32())


def _encode(
    texts: Iterable[str], tokenizer: "PreTrainedTokenizerBase | Encoder", preset: cleaning.Cleaning, max_length: int
) -> Iterator[pa.Array]:
    clean = cleaning.CLEANINGS[preset]
    for chunk in _chunks(texts):
        encoded = tokenizer(
            [clean(text) for text in chunk],
            truncation=True,
            max_length=max_length,
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        yield pa.array(encoded["input_ids"], type=_TYPE)


def _chunks(texts: Iterable[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    for text in texts:
        chunk.append(text)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _write(path: Path, arrays: Iterable[pa.Array]) -> None:
    # An Arrow file of several batches would be copied when it is read as one array; a single batch is only mapped.
    column = pa.chunked_array(list(arrays), type=_TYPE).combine_chunks()
    schema = pa.schema([("input_ids", _TYPE)])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.record_batch([column], schema=schema))
    write_atomically(sink.getvalue(), path)


def _from_column(column: pa.ChunkedArray) -> Tokens:
    array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], type=_TYPE)
    offsets = array.offsets.to_numpy()
    return Tokens(values=array.values.to_numpy(), offsets=offsets)
