"""What a tokenizer with fewer tokens makes of a word that was a token before, and how much that changes an answer."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from chirplet.data.batching.padding import by_length, padded
from chirplet.data.batching.tokens import Tokens, tokenize
from chirplet.task.base import Task

BATCH_SIZE = 256
LONGEST = 64
"""Tokens that a word may be spelt in."""

Ids = NDArray[np.int64]


def shifts(
    task: Task, model: PreTrainedModel, before: PreTrainedTokenizerBase, after: PreTrainedTokenizerBase, kept: Ids
) -> tuple[Ids, NDArray[np.float32]]:
    """By how much the answer to a token alone moves when it is spelt in the tokens that are left.

    A token that no text alone is read as, such as a piece within words, is left out.

    Args:
        task: of the model.
        model: a classifier that knows every token of `before`.
        before: the whole tokenizer.
        after: the smaller one.
        kept: token i of `after` was token kept[i].

    Returns:
        The tokens that `after` lacks, shape (n,), and of each the change of the label's probability that changes most,
        from 0 to 1, shape (n,).
    """
    lost = np.setdiff1d(np.arange(len(before)), kept)
    texts = [str(before.decode([token])) for token in lost.tolist()]
    whole = tokenize(texts, before, "none", LONGEST)
    alone = 1 + before.num_special_tokens_to_add()
    own = [i for i, token in enumerate(lost) if len(whole[i]) == alone and token in whole[i]]
    if not own:
        return lost[:0], np.zeros(0, np.float32)
    texts = [texts[i] for i in own]
    whole, spelt = (tokenize(texts, tokenizer, "none", LONGEST) for tokenizer in (before, after))
    pad_id = before.pad_token_id
    assert isinstance(pad_id, int)
    old = _probabilities(task, model, whole, pad_id)
    new = _probabilities(task, model, Tokens(kept[spelt.values].astype(np.int32), spelt.offsets), pad_id)
    return lost[own], (old - new).abs().amax(dim=1).numpy()


@torch.inference_mode()
def _probabilities(task: Task, model: PreTrainedModel, tokens: Tokens, pad_id: int) -> Tensor:
    """Of each row, shape (n, classes)."""
    found = torch.empty(len(tokens), len(model.config.id2label or ()))
    for batch in by_length(tokens.lengths, BATCH_SIZE):
        input_ids, mask = map(torch.from_numpy, padded(tokens, batch, pad_id))
        found[batch] = task.activate(model(input_ids=input_ids, attention_mask=mask).logits)
    return found
