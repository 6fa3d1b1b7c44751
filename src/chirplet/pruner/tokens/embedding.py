"""Remove rows of a model's embedding table."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedModel

from chirplet.model.family import family_of
from chirplet.system.error import PruningError

TOKEN_IDS = ("pad_token_id", "bos_token_id", "eos_token_id", "sep_token_id", "cls_token_id", "mask_token_id")
"""Keys of `config.json` with token ids."""


def keep_rows(model: PreTrainedModel, kept: NDArray[np.int64]) -> None:
    """Keep the rows `kept`, ascending, of the word embeddings of `model`; new row i is old row kept[i].

    Raises:
        PruningError: the padding id would change, from which RoBERTa counts positions.
    """
    renumbered = {int(old): new for new, old in enumerate(kept)}
    table = family_of(model).word_embeddings(model)
    padding = table.padding_idx
    if padding is not None and renumbered.get(padding) != padding:
        raise PruningError(
            f"pruner: got vocabulary, which would change the padding id {padding} that the model's positions depend "
            "on; choose another pruner"
        )
    rows = table.weight.detach()[torch.from_numpy(kept)].clone()
    model.set_input_embeddings(nn.Embedding(len(kept), rows.shape[1], padding_idx=padding, _weight=rows))
    model.config.vocab_size = len(kept)
    for name in TOKEN_IDS:
        old = getattr(model.config, name, None)
        if isinstance(old, int):
            # None if the tokenizer has no such token.
            setattr(model.config, name, renumbered.get(old))
