"""A model whose activations stand out in some channels, as BERTweet's do, and what becomes of it in int8.

The channels are planted into a small trained model without changing what it computes in fp32: whatever writes a channel
makes it a thousand times as large, and whatever reads it weighs it a thousandth.
"""

import tempfile
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, PreTrainedModel

from chirplet.data.batching.tokens import Tokens
from chirplet.evaluation.evaluator import Quality
from chirplet.model.family import family_of
from chirplet.quantizer.base import Calibration, Quantizer
from chirplet.quantizer.mixed_precision.search import fewest_excluded, sensitivities
from chirplet.quantizer.onnx_int8 import OnnxInt8
from chirplet.quantizer.openvino_int8_weights import OpenVinoInt8Weights
from chirplet.quantizer.torch_int8 import TorchInt8
from chirplet.runtime.base import Runtime, predict_logits
from chirplet.runtime.open import open_runtime
from chirplet.runtime.pytorch import PyTorchRuntime
from chirplet.system.hardware import cpu_has_vnni
from chirplet.task.single_label import SingleLabel

WORDS, LENGTH, CLASSES = 60, 12, 4


def examples(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of words whose label is the class that most of their words are of."""
    random = torch.Generator().manual_seed(seed)
    ids = torch.randint(4, WORDS, (count, LENGTH), generator=random)
    votes = torch.stack([(ids % CLASSES == label).sum(dim=1) for label in range(CLASSES)], dim=1)
    clear = votes.topk(2, dim=1).values
    rows = clear[:, 0] > clear[:, 1]
    return ids[rows], votes[rows].argmax(dim=1)


def trained() -> PreTrainedModel:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=WORDS, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=16, num_labels=CLASSES, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    model = BertForSequenceClassification(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    ids, labels = examples(4000, seed=1)
    for _ in range(8):
        for rows in torch.randperm(len(ids)).split(64):
            optimizer.zero_grad()
            model(input_ids=ids[rows], labels=labels[rows]).loss.backward()
            optimizer.step()
    return model.eval()


@torch.no_grad()
def plant(model: PreTrainedModel, channel: int, factor: float) -> None:
    """Make a channel large where its readers are its only ones: in attention's values, and before the pooler."""
    for layer in family_of(model).layers(model):
        _move(layer.attention.self.value, layer.attention.output.dense, channel, factor)
    _move(family_of(model).layers(model)[-1].output.LayerNorm, model.base_model.pooler.dense, channel, factor)


def _move(writer: torch.nn.Module, reader: torch.nn.Linear, channel: int, factor: float) -> None:
    writer.weight[channel] *= factor
    writer.bias[channel] *= factor
    reader.weight[:, channel] /= factor


class Part:
    """Texts, and how right a model is on them."""

    def __init__(self, model: PreTrainedModel, seed: int) -> None:
        ids, labels = examples(1200, seed)
        self.labels = labels.numpy()
        self.tokens = Tokens(ids.int().numpy().ravel(), np.arange(len(ids) + 1) * LENGTH)
        self.fp32 = self.logits(PyTorchRuntime(model))

    def logits(self, runtime: Runtime) -> np.ndarray:
        return predict_logits(runtime, self.tokens, 0, 64)

    def quality(self, logits: np.ndarray) -> Quality:
        loss = torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(self.labels))
        accuracy = float((logits.argmax(axis=1) == self.labels).mean())
        return Quality(loss.item(), accuracy, **SingleLabel().distances(*map(torch.from_numpy, (logits, self.fp32))))


class Case:
    """A model with outliers. Excluded layers are chosen on `val`, and the result is evaluated on `test`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = trained()
        self.before = Part(self.model, seed=3)
        plant(self.model, channel=5, factor=1000.0)
        self.val, self.test = Part(self.model, seed=2), Part(self.model, seed=3)

    def quantized(self, quantizer: Quantizer, excluded: Collection[str] | None = None) -> tuple[Quality, list[str]]:
        """Its quality, with the fewest excluded layers if none are given."""
        work = Path(tempfile.mkdtemp(dir=self.folder))
        quantization = quantizer.prepare(self.model, Calibration(self.val.tokens, 0), work)

        def evaluate_splits(excluded: Collection[str], part: Part = self.val) -> Quality:
            folder = Path(tempfile.mkdtemp(dir=self.folder))
            quantization.write(folder, excluded)
            runtime = open_runtime(folder, accelerator="cpu", threads=1, precision="stored")
            return part.quality(part.logits(runtime))

        if excluded is None:
            fp32 = self.val.quality(self.val.fp32)
            order = sensitivities(quantization.layers, fp32, evaluate_splits)
            excluded, _ = fewest_excluded(order, fp32, 0.003, evaluate_splits)
        return evaluate_splits(excluded, self.test), list(excluded)


@pytest.fixture(scope="module")
def case(tmp_path_factory) -> Case:
    return Case(tmp_path_factory.mktemp("outliers"))


def test_planting_changes_nothing_in_fp32(case):
    assert case.before.quality(case.before.fp32).accuracy > 0.85
    np.testing.assert_allclose(case.test.fp32, case.before.fp32, atol=1e-3)


def test_one_scale_for_all_collapses_and_the_default_does_not(case):
    fp32 = case.test.quality(case.test.fp32).accuracy
    collapsed, _ = case.quantized(TorchInt8(weights="per_tensor"), excluded=())
    assert collapsed.accuracy <= fp32 - 0.20
    default, excluded = case.quantized(OnnxInt8(reduce_range="auto"))
    assert default.accuracy >= fp32 - 0.01
    assert 0 < len(excluded) < 8, "a few layers, not all"
    assert any("pooler" in name for name in excluded)


@pytest.mark.skipif(not cpu_has_vnni(), reason="this CPU has no VNNI")
def test_scales_of_tokens_and_groups_bear_more_than_one_for_a_batch(case):
    plain, _ = case.quantized(OnnxInt8(reduce_range="auto"), excluded=())
    grouped, _ = case.quantized(OpenVinoInt8Weights(group_size=16), excluded=())
    assert grouped.loss < plain.loss
