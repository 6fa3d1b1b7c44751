"""Logits of many tweets, from the shortest to the longest, given back in their own order."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from chirplet.data.batches import evaluation_loader
from chirplet.data.tokens import Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@torch.inference_mode()
def predict_logits(
    model: "PreTrainedModel", tokens: Tokens, pad_id: int, batch_size: int, bf16: bool
) -> NDArray[np.float32]:
    """Logits in the order of `tokens`; shape (n, classes), float32.

    Runs where the model's weights are, under bf16 autocast where `bf16` says so. The model's train or eval mode is
    restored.
    """
    device = model.device
    was_training = model.training
    model.eval()
    classes = len(model.config.id2label or {})
    logits = np.empty((len(tokens), classes), dtype=np.float32)
    try:
        for batch in evaluation_loader(tokens, None, pad_id, batch_size):
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
                output = model(
                    input_ids=batch["input_ids"].to(device), attention_mask=batch["attention_mask"].to(device)
                )
            logits[batch["position"].numpy()] = output.logits.float().cpu().numpy()
    finally:
        model.train(was_training)
    return logits
