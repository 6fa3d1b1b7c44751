"""Token ids on disk: each text is cleaned and tokenized once, then memory-mapped."""

import hashlib
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from chirplet.data.base import Examples
from chirplet.data.batching.tokens import Tokens, save_tokenizer, tokenize
from chirplet.data.preparation.cleaning import fingerprint
from chirplet.data.preparation.normalizers import Cleaning
from chirplet.system.cache_files import locked_folder, write_atomically
from chirplet.system.error import first_line
from chirplet.system.hashing import texts_hash

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

FORMAT_VERSION = 2
_TYPE = pa.large_list(pa.int32())
_TRUNCATED = b"truncated"


def cached_tokens(
    examples: Examples,
    tokenizer: "PreTrainedTokenizerBase",
    preset: Cleaning,
    max_length: int,
    cache_dir: Path,
) -> Tokens:
    """The tokens of `examples`, from an Arrow file that is written on first use.

    The file's key covers the texts, the cleaning rules, the tokenizer's files and `max_length`. If two processes need
    the file at the same time, one writes it and the other waits.
    """
    parts = (
        str(FORMAT_VERSION),
        texts_hash(examples.text),
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
        _write(path, tokenize(examples.text, tokenizer, preset, max_length))
        return open_tokens(path)


def open_tokens(path: Path) -> Tokens:
    """Map a token file written by `cached_tokens`.

    Raises:
        pyarrow.ArrowException: the file is damaged.
    """
    table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    column = table.column("input_ids")
    column.validate(full=True)
    array = column.chunk(0)
    truncated = int(table.schema.metadata[_TRUNCATED])
    return Tokens(array.values.to_numpy(), array.offsets.to_numpy(), truncated)


def tokenizer_hash(tokenizer: "PreTrainedTokenizerBase") -> str:
    """SHA-256 of the files that the tokenizer saves."""
    digest = hashlib.sha256()
    with tempfile.TemporaryDirectory() as folder:
        for name in sorted(save_tokenizer(tokenizer, Path(folder))):
            digest.update(Path(name).name.encode())
            digest.update(Path(name).read_bytes())
    return digest.hexdigest()


def _write(path: Path, tokens: Tokens) -> None:
    column = pa.LargeListArray.from_arrays(pa.array(tokens.offsets), pa.array(tokens.values))
    schema = pa.schema([("input_ids", _TYPE)], {_TRUNCATED: str(tokens.truncated)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.record_batch([column], schema=schema))
    write_atomically(sink.getvalue(), path)
