"""Small models and the quantizers in conf/, for what all of these must do."""

from pathlib import Path

import numpy as np
import yaml
from transformers import PreTrainedModel

from artifacts import lively, tiny_artifact
from checkpoints import TEXTS
from chirplet.config.schema import bind
from chirplet.data.batching.tokens import Tokens, tokenize
from chirplet.quantizer.base import Calibration, Quantizer
from chirplet.runtime.base import predict_logits
from chirplet.runtime.open import open_runtime
from chirplet.runtime.pytorch import PyTorchRuntime, load_model
from chirplet.runtime.tokenizer import open_tokenizer
from places import CONF

# Name of the YAML file: runtime, and bits of most weights.
QUANTIZERS = {
    "bf16": ("pytorch", 16),
    "fp16": ("pytorch", 16),
    "int4_weights": ("onnxruntime", 4),
    "onnx_int8": ("onnxruntime", 8),
    "openvino_int8": ("openvino", 8),
    "openvino_int8_weights": ("openvino", 8),
    "qat": ("onnxruntime", 8),
    "torch_int8": ("pytorch_int8", 8),
}


class Small:
    """A small artifact with its fp32 answers to the texts."""

    def __init__(self, folder: Path, base: Path) -> None:
        self.folder = tiny_artifact(base, folder)
        tokenizer, self.pad_id = open_tokenizer(folder, 32)
        self.tokens: Tokens = tokenize(TEXTS, tokenizer, "twitter_roberta", 32)
        self.model: PreTrainedModel = lively(load_model(folder)).eval()
        self.logits = predict_logits(PyTorchRuntime(self.model), self.tokens, self.pad_id, 4)

    def answers(self, folder: Path, batch_size: int = 4) -> np.ndarray:
        runtime = open_runtime(folder, accelerator="cpu", threads=1, precision="stored")
        return predict_logits(runtime, self.tokens, self.pad_id, batch_size)


def quantizer(name: str, **changes) -> Quantizer:
    parts = {}
    content = yaml.safe_load((CONF / "quantizer" / f"{name}.yaml").read_text())
    for base in content.pop("defaults", []):
        if base != "_self_":
            parts |= yaml.safe_load((CONF / "quantizer" / f"{base}.yaml").read_text())
    return bind(parts | content | changes, "quantizer")


def prepared(name: str, small: Small, workspace: Path, **changes):
    workspace.mkdir(exist_ok=True)
    return quantizer(name, **changes).prepare(small.model, Calibration(small.tokens, small.pad_id), workspace)
