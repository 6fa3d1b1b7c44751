"""Remove rows of a model's embedding table."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from chirplet.model.family import family_of
from chirplet.system.error import PruningError

TOKEN_ID = "_token_id"
"""The end of keys of `config.json` with token ids."""


def check_padding(config: PretrainedConfig, kept: NDArray[np.int64]) -> None:
    """Check that a model can lose all tokens but `kept`, ascending.

    Raises:
        PruningError: the padding id would change, from which the model counts positions.
    """
    padding = config.pad_token_id
    if not family_of(config).counts_from_padding or padding is None:
        return
    if kept.searchsorted(padding) != padding:
        raise PruningError(
            f"pruner: got vocabulary, which would change the padding id {padding} that the positions of a model of "
            f"type {config.model_type!r} depend on; choose another pruner"
        )


def keep_rows(model: PreTrainedModel, kept: NDArray[np.int64]) -> None:
    """Keep the rows `kept`, ascending, of the word embeddings of `model`; new row i is old row kept[i].

    Raises:
        PruningError: as `check_padding`.
    """
    check_padding(model.config, kept)
    renumbered = {int(old): new for new, old in enumerate(kept)}
    table = family_of(model).word_embeddings(model)
    padding = None if table.padding_idx is None else renumbered.get(table.padding_idx)
    rows = table.weight.detach()[torch.from_numpy(kept)].clone()
    model.set_input_embeddings(nn.Embedding(len(kept), rows.shape[1], padding_idx=padding, _weight=rows))
    model.config.vocab_size = len(kept)
    for name, old in model.config.to_dict().items():
        if name.endswith(TOKEN_ID):
            setattr(model.config, name, _renumbered(old, renumbered))


def _renumbered(old: Any, renumbered: Mapping[int, int]) -> Any:
    """The new id, or ids, of a token. None if the tokenizer has no such token."""
    if isinstance(old, list):
        return [renumbered[each] for each in old if each in renumbered] or None
    return renumbered.get(old) if isinstance(old, int) else old
