"""A model's embedding table with some of its rows."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedModel

from chirplet.model.family import family_of
from chirplet.system.error import PruningError

TOKEN_IDS = ("pad_token_id", "bos_token_id", "eos_token_id", "sep_token_id", "cls_token_id", "mask_token_id")
"""What `config.json` may say of the tokenizer."""


def keep_rows(model: PreTrainedModel, kept: NDArray[np.int64]) -> None:
    """Leave the rows `kept`, ascending, in `model`, which then has as many tokens; row i is old row kept[i].

    Raises:
        PruningError: the padding's id would change, from which RoBERTa counts its positions.
    """
    renumbered = {int(old): new for new, old in enumerate(kept)}
    table = family_of(model).word_embeddings(model)
    padding = table.padding_idx
    if padding is not None and renumbered.get(padding) != padding:
        raise PruningError(f"pruner: the padding's id {padding} would change, which the model's positions depend on")
    rows = table.weight.detach()[torch.from_numpy(kept)].clone()
    model.set_input_embeddings(nn.Embedding(len(kept), rows.shape[1], padding_idx=padding, _weight=rows))
    model.config.vocab_size = len(kept)
    for name in TOKEN_IDS:
        old = getattr(model.config, name, None)
        if isinstance(old, int):
            # An id without a token, of a tokenizer that has no such token, says nothing.
            setattr(model.config, name, renumbered.get(old))
