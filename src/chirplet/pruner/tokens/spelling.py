"""The change of predictions for tokens that a smaller tokenizer splits."""

from copy import deepcopy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from chirplet.data.batching.padding import by_length, padded
from chirplet.data.batching.tokens import Tokens, tokenize
from chirplet.data.preparation.normalizers import clean_inside
from chirplet.task.base import Task

BATCH_SIZE = 256
LONGEST = 64
"""Most tokens of a word."""

Ids = NDArray[np.int64]


def shifts(
    task: Task, model: PreTrainedModel, before: PreTrainedTokenizerBase, after: PreTrainedTokenizerBase, kept: Ids
) -> tuple[Ids, NDArray[np.float32]]:
    """The change of class probabilities of each removed token, alone as a text, when `after` splits it.

    Tokens that no text alone is tokenized to, for example pieces within words, are left out.

    Args:
        task: the model's task.
        model: a classifier with every token of `before`.
        before: the original tokenizer.
        after: the smaller tokenizer.
        kept: token i of `after` was token kept[i].

    Returns:
        The tokens that `after` lacks, shape (n,), and the largest change of a class probability of each, from 0 to 1,
        shape (n,).
    """
    lost = np.setdiff1d(np.arange(len(before)), kept)
    before, after = _uncleaned(before), _uncleaned(after)
    texts = [str(before.decode([token])) for token in lost.tolist()]
    unsplit = tokenize(texts, before, "none", LONGEST)
    length = 1 + before.num_special_tokens_to_add()
    single = [i for i, token in enumerate(lost) if len(unsplit[i]) == length and token in unsplit[i]]
    if not single:
        return lost[:0], np.zeros(0, np.float32)
    texts = [texts[i] for i in single]
    unsplit, split = (tokenize(texts, tokenizer, "none", LONGEST) for tokenizer in (before, after))
    pad_id = before.pad_token_id
    assert isinstance(pad_id, int)
    old = _probabilities(task, model, unsplit, pad_id)
    new = _probabilities(task, model, Tokens(kept[split.values].astype(np.int32), split.offsets), pad_id)
    return lost[single], (old - new).abs().amax(dim=1).numpy()


def _uncleaned(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """The tokenizer for texts that are pieces of cleaned texts, such as a space and a word."""
    copied = deepcopy(tokenizer)
    clean_inside(copied, "none")
    return copied


@torch.inference_mode()
def _probabilities(task: Task, model: PreTrainedModel, tokens: Tokens, pad_id: int) -> Tensor:
    """Class probabilities of each row, shape (n, classes)."""
    probabilities = torch.empty(len(tokens), len(model.config.id2label or ()))
    for batch in by_length(tokens.lengths, BATCH_SIZE):
        input_ids, mask = map(torch.from_numpy, padded(tokens, batch, pad_id))
        probabilities[batch] = task.activate(model(input_ids=input_ids, attention_mask=mask).logits)
    return probabilities
