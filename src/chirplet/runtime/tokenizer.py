"""The tokenizer saved with an artifact, opened without torch if it has a `tokenizer.json`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from chirplet.data.batching.tokens import Encoder
from chirplet.model.family import FAMILIES
from chirplet.model.family.generic import UNLIMITED
from chirplet.system.error import ModelError
from chirplet.system.optional_dependency import needs

FILE = "tokenizer.json"


class FileTokenizer:
    """`tokenizer.json` run by the `tokenizers` library alone; its ids are those of `transformers`."""

    def __init__(self, backend: Tokenizer) -> None:
        backend.no_padding()
        self.backend_tokenizer = backend

    def __call__(
        self,
        texts: Sequence[str],
        *,
        truncation: bool = True,
        max_length: int,
        return_attention_mask: bool = False,
        return_token_type_ids: bool = False,
    ) -> dict[str, list[list[int]]]:
        if truncation:
            self.backend_tokenizer.enable_truncation(max_length)
        else:
            self.backend_tokenizer.no_truncation()
        try:
            return {"input_ids": [encoding.ids for encoding in self.backend_tokenizer.encode_batch_fast(list(texts))]}
        except Exception as error:  # the library has no other class, for example for a vocabulary without [UNK]
            raise ModelError(f"artifact: its {FILE} cannot read a text ({error})") from error


def open_tokenizer(folder: Path, max_length: int) -> tuple[Encoder, int]:
    """The tokenizer in `folder` and the id of its padding token.

    BERTweet's tokenizer cannot be saved as `tokenizer.json` and is opened by `transformers`.

    Raises:
        ModelError: the tokenizer is missing or damaged, or does not match the model.
        DependencyError: it is BERTweet's, and transformers is not installed.
    """
    config = _read(folder / "config.json")
    pad_id = config.get("pad_token_id")
    if not isinstance(pad_id, int):
        raise ModelError(f"artifact: {str(folder / 'config.json')!r} has no pad_token_id")
    positions = position_count(config)
    if not isinstance(positions, int) or max_length > positions:
        raise ModelError(
            f"artifact: the record of {str(folder)!r} has max_length {max_length}, "
            f"but its model has {positions} positions"
        )
    if (folder / "bpe.codes").is_file():
        with needs("artifact: it has the tokenizer of BERTweet: transformers", "pip install transformers"):
            from chirplet.model.loading.bertweet_tokenizer import open_bertweet

        return open_bertweet(folder, max_length), pad_id
    path = folder / FILE
    if not path.is_file():
        raise ModelError(f"artifact: {str(folder)!r} has no tokenizer: neither {FILE} nor bpe.codes")
    try:
        backend = Tokenizer.from_file(str(path))
    except Exception as error:  # the library has no other class for a damaged file
        raise ModelError(f"artifact: {str(path)!r} is damaged ({error})") from error
    size, last = config.get("vocab_size"), max(backend.get_vocab().values(), default=-1)
    if not isinstance(size, int) or not max(last, pad_id) < size or pad_id < 0:
        raise ModelError(
            f"artifact: {str(path)!r} has ids up to {max(last, pad_id)}, but its model has {size} embeddings"
        )
    return FileTokenizer(backend), pad_id


def position_count(config: dict[str, Any]) -> Any:
    """The model's number of positions in a `config.json`, unchecked; None if it is missing."""
    family = FAMILIES.get(str(config.get("model_type")))
    if family is not None:
        return config.get(family.names.positions)
    # Models without a table of positions take texts of any length.
    return next((config[name] for name in ("max_position_embeddings", "n_positions") if name in config), UNLIMITED)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"artifact: {str(path)!r} cannot be read ({error})") from None
    return content if isinstance(content, dict) else {}
