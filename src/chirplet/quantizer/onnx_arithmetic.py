"""The nodes by which ONNX Runtime computes a classifier in int8.

Tables of embeddings have one scale a row; those that are kept stand in fp16. It is what comes into a layer that int8
rounds too roughly, by one scale for a batch; so layers that are kept are computed in fp32. Their weights stand in int8
all the same, with a scale for each input beside that for each output.
"""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto
from torch import nn

from chirplet.quantizer.base import Quantization
from chirplet.quantizer.onnx_graph import MASKED, MICROSOFT, Arithmetic, array, classifier_graph, layer_names

if TYPE_CHECKING:
    from transformers import PreTrainedModel

STEPS, REDUCED_STEPS = 127, 63
"""Steps from zero to the largest weight, of 8 bits and of 7."""


class OnnxQuantization(Quantization):
    """Writes the graph anew for each set of layers that is kept: that takes a fraction of a second."""

    def __init__(self, model: "PreTrainedModel", steps: int) -> None:
        self.model = model
        self.steps = steps
        self.layers = layer_names(model)
        self.facts: dict[str, Any] = {
            "weights": "int8, one scale an output or row",
            "activations": "uint8, one scale a batch",
            "reduce_range": steps == REDUCED_STEPS,
        }

    def write(self, folder: Path, kept: Collection[str]) -> None:
        metadata = {"precision": "int8/fp32", "weight_bits": "7" if self.steps == REDUCED_STEPS else "8"}
        graph = classifier_graph(self.model, Int8(kept, self.steps), metadata)
        onnx.save(graph, folder / "model.onnx")
        self.model.config.save_pretrained(folder)


class Int8(Arithmetic):
    """ONNX Runtime's own operations, in int8 but for the layers that are `kept`."""

    def __init__(self, kept: Collection[str], steps: int) -> None:
        super().__init__()
        self.kept = frozenset(kept)
        self.steps = steps

    def weight(self, name: str, values: NDArray[np.float32]) -> str:
        """A matrix (in, out) of a kept layer."""
        balance = scales(values, axis=1)
        whole, steps = rounded(values / balance, STEPS, axis=0)
        # Of constants alone: the runtime does this once, when it opens the file.
        single = self.node("Cast", self.constant(f"{name}.weight", whole), to=TensorProto.FLOAT)
        scaled = self.node("Mul", single, self.constant(f"{name}.weight_scale", steps))
        matrix: str = self.node("Mul", scaled, self.constant(f"{name}.input_scale", balance))
        return matrix

    def rows(self, name: str, table: NDArray[np.float32], operation: str, *which: str) -> str:
        if name in self.kept:
            half = self.node(operation, self.constant(f"{name}.weight", table.astype(np.float16)), *which)
            kept: str = self.node("Cast", half, to=TensorProto.FLOAT)
            return kept
        whole, scale = (
            self.node(operation, self.constant(f"{name}.{part}", values), *which)
            for part, values in zip(("weight", "weight_scale"), rounded(table, STEPS, axis=1), strict=True)
        )
        found: str = self.node("Mul", self.node("Cast", whole, to=TensorProto.FLOAT), scale)
        return found

    def linear(self, states: str, layers: dict[str, nn.Linear]) -> list[str]:
        if all(name in self.kept for name in layers):
            return super().linear(states, layers)
        values, scale, zero_point = self.node("DynamicQuantizeLinear", states, outputs=3)
        found = []
        for name, layer in layers.items():
            if name in self.kept:
                found += super().linear(states, {name: layer})
                continue
            whole, steps = rounded(array(layer.weight).T, self.steps, axis=0)
            inputs = [
                values,
                self.constant(f"{name}.weight", whole),
                scale,
                self.constant(f"{name}.weight_scale", steps[0]),
                zero_point,
                self.constant(f"{name}.weight_zero_point", np.zeros_like(whole[0])),
                *([] if layer.bias is None else [self.constant(f"{name}.bias", array(layer.bias))]),
            ]
            found.append(self.node("MatMulIntegerToFloat", *inputs, domain=MICROSOFT))
        return found

    def mask(self, attention_mask: str) -> str:
        found: str = self.node("Cast", attention_mask, to=TensorProto.INT32)
        return found

    def attend(self, query: str, key: str, value: str, mask: str, heads: int, size: int) -> str:
        inputs = (query, key, value, "", mask)
        found: str = self.node(
            "MultiHeadAttention", *inputs, domain=MICROSOFT, num_heads=heads, mask_filter_value=float(MASKED)
        )
        return found

    def gelu(self, states: str) -> str:
        found: str = self.node("Gelu", states, domain=MICROSOFT)
        return found


def rounded(weight: NDArray[np.float32], steps: int, axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Whole numbers within ±`steps` and their scales along `axis`, which is kept with length 1."""
    scale = scales(weight / np.float32(steps), axis)
    return np.rint(weight / scale).astype(np.int8), scale


def scales(values: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """The largest magnitude along `axis`, which is kept with length 1; hardly anything, but not zero, where all are."""
    largest: NDArray[np.float32] = np.abs(values).max(axis=axis, keepdims=True)
    return np.maximum(largest, np.float32(2.0**-120)).astype(np.float32)
