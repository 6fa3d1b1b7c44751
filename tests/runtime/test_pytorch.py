"""Logits come back in the order the texts were given in."""

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification

from checkpoints import tiny_bert
from chirplet.data.batching.tokens import Tokens
from chirplet.runtime.base import predict_logits
from chirplet.runtime.pytorch import PyTorchRuntime


def test_logits_are_those_of_each_tweet_alone(tmp_path):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert(tmp_path), num_labels=3).eval()
    random = np.random.default_rng(0)
    rows = [random.integers(5, 100, size=length) for length in (9, 2, 17, 5, 1)]
    tokens = Tokens(np.concatenate(rows).astype(np.int32), np.cumsum([0, *map(len, rows)]).astype(np.int64))
    logits = predict_logits(PyTorchRuntime(model, bf16=False), tokens, pad_id=0, batch_size=2)
    with torch.inference_mode():
        for row, found in zip(rows, logits, strict=True):
            alone = model(input_ids=torch.from_numpy(row)[None]).logits[0].numpy()
            np.testing.assert_allclose(found, alone, atol=1e-5)
