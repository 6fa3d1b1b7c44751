"""ONNX Runtime's nodes for a classifier in int8.

Embedding tables have a scale per row and a scale per column; excluded tables are in fp16. Excluded linear layers are
computed in fp32, since the coarse rounding is that of their inputs, with one scale per batch. Their weights are still
stored in int8, with a scale per input and a scale per output. The same holds for the keys and values of the last layer,
which are never computed: the first token's query is applied to the states instead (`Int8.attend_first`).
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
from chirplet.quantizer.graph.arithmetic import MASKED, MICROSOFT, Arithmetic, Attention, Linears, array
from chirplet.quantizer.graph.of_model import graph_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

STEPS, REDUCED_STEPS = 127, 63
"""Steps from zero to the largest weight, in 8 bits and in 7 bits."""


class OnnxQuantization(Quantization):
    """Writes a new graph for each set of excluded layers, which takes a fraction of a second."""

    def __init__(self, model: "PreTrainedModel", steps: int) -> None:
        self.config = model.config
        self.graph = graph_of(model)
        self.steps = steps
        self.layers = tuple(name for name in self.graph.layers if name not in self.graph.replaced_in_int8)
        self.facts: dict[str, Any] = {
            "weights": "int8, one scale an output; tables: one a row and one a column",
            "activations": "uint8, one scale a batch",
            "reduce_range": steps == REDUCED_STEPS,
        } | self.graph.facts

    def write(self, folder: Path, excluded: Collection[str]) -> None:
        metadata = {"precision": "int8/fp32", "weight_bits": "7" if self.steps == REDUCED_STEPS else "8"}
        onnx.save(self.graph.build(Int8(excluded, self.steps), metadata), folder / "model.onnx")
        self.config.save_pretrained(folder)


class Int8(Arithmetic):
    """ONNX Runtime's operations in int8, except for the layers in `excluded`."""

    def __init__(self, excluded: Collection[str], steps: int) -> None:
        super().__init__()
        self.excluded = frozenset(excluded)
        self.steps = steps

    def stored(self, name: str, values: NDArray[np.float32]) -> str:
        """A matrix (in, out) stored in int8 and computed in fp32."""
        balance = scales(values, axis=1)
        whole, steps = rounded(values / balance, STEPS, axis=0)
        # These nodes have constant inputs, so the runtime computes them once, when it opens the file.
        single = self.node("Cast", self.constant(f"{name}.weight", whole), to=TensorProto.FLOAT)
        scaled = self.node("Mul", single, self.constant(f"{name}.weight_scale", steps))
        matrix: str = self.node("Mul", scaled, self.constant(f"{name}.input_scale", balance))
        return matrix

    def rows(self, name: str, table: NDArray[np.float32], operation: str, *which: str) -> str:
        if name in self.excluded:
            half = self.node(operation, self.constant(f"{name}.weight", table.astype(np.float16)), *which)
            output: str = self.node("Cast", half, to=TensorProto.FLOAT)
            return output
        return self.rounded_rows(name, table, operation, *which)

    def rounded_rows(self, name: str, table: NDArray[np.float32], operation: str, *which: str) -> str:
        """Rows of a table in int8, whether excluded or not."""
        balance = column_scales(table)
        whole, scale = (
            self.node(operation, self.constant(f"{name}.{part}", values), *which)
            for part, values in zip(("weight", "weight_scale"), rounded(table / balance, STEPS, axis=1), strict=True)
        )
        row = self.node("Mul", self.node("Cast", whole, to=TensorProto.FLOAT), scale)
        output: str = self.node("Mul", row, self.constant(f"{name}.column_scale", balance[0]))
        return output

    def linear(self, states: str, layers: Linears) -> list[str]:
        if all(name in self.excluded for name in layers):
            return super().linear(states, layers)
        values, scale, zero_point = self.node("DynamicQuantizeLinear", states, outputs=3)
        outputs = []
        for name, layer in layers.items():
            if name in self.excluded:
                outputs += super().linear(states, {name: layer})
                continue
            weight, weight_scale, width = self._rounded_weight(name, layer)
            inputs = [
                values,
                weight,
                scale,
                weight_scale,
                zero_point,
                self.constant(f"{name}.weight_zero_point", np.zeros(width, np.int8)),
                *([] if layer.bias is None else [self.constant(f"{name}.bias", array(layer.bias))]),
            ]
            outputs.append(self.node("MatMulIntegerToFloat", *inputs, domain=MICROSOFT))
        return outputs

    def constant_linear(self, states: str, layers: Linears) -> list[str]:
        """Linear layers with rounded weights alone. The runtime does not compute products in int8 in advance."""
        outputs = []
        for name, layer in layers.items():
            if name in self.excluded:
                outputs += Arithmetic.linear(self, states, {name: layer})
                continue
            weight, weight_scale, _ = self._rounded_weight(name, layer)
            matrix = self.node("Mul", self.node("Cast", weight, to=TensorProto.FLOAT), weight_scale)
            product = self.node("MatMul", states, matrix)
            bias = None if layer.bias is None else self.constant(f"{name}.bias", array(layer.bias))
            outputs.append(product if bias is None else self.node("Add", product, bias))
        return outputs

    def _rounded_weight(self, name: str, layer: nn.Linear) -> tuple[str, str, int]:
        """The constants of a weight (in, out) and of its scales, and the number of outputs."""
        whole, steps = rounded(array(layer.weight).T, self.steps, axis=0)
        return self.constant(f"{name}.weight", whole), self.constant(f"{name}.weight_scale", steps[0]), whole.shape[1]

    def mask(self, attention_mask: str) -> str:
        output: str = self.node("Cast", attention_mask, to=TensorProto.INT32)
        return output

    def attend_first(self, states: str, first: str, mask: str, attention: Attention) -> str:
        """The first token's context without keys and values: q·(W x) = (Wᵀq)·x, and Σ pᵢ (W xᵢ) = W Σ pᵢ xᵢ.

        The keys' bias is left out, since it adds the same to all scores and the softmax cancels it. Layers that share
        weights with others are computed as those are: their matrices are stored for products in int8.
        """
        if any(f"{name}.weight" in self.constants for name in attention.key | attention.value):
            return super().attend_first(states, first, mask, attention)
        (query,) = self.linear(first, attention.query)
        heads, size = attention.heads, attention.size
        split = self.constant("split_first", np.array([0, heads, size]))
        apart = self.constant("heads_apart", np.array([heads, size, -1]))
        ((key, of_keys),), ((value, of_values),) = attention.key.items(), attention.value.items()
        from_states = (
            self.weight(key, array(of_keys.weight).T * np.float32(attention.scale)),
            self.weight(value, array(of_values.weight).T),
        )
        to_keys, to_values = (
            self.node("Reshape", self.node("Transpose", matrix, perm=[1, 0]), apart) for matrix in from_states
        )
        by_head = self.node("Transpose", self.node("Reshape", query, split), perm=[1, 0, 2])
        queries = self.node("Transpose", self.node("MatMul", by_head, to_keys), perm=[1, 0, 2])
        scores = self.node("MatMul", queries, self.node("Transpose", states, perm=[0, 2, 1]))
        if attention.bias is not None:
            scores = self.node("Add", scores, self._first_rows(attention.bias))
        weights = self.node("Softmax", self.node("Add", scores, self._score_mask(mask)), axis=-1)
        averaged = self.node("Transpose", self.node("MatMul", weights, states), perm=[1, 0, 2])
        context = self.node("MatMul", averaged, self.node("Transpose", to_values, perm=[0, 2, 1]))
        together = self.node("Transpose", context, perm=[1, 0, 2])
        joined = self.node("Reshape", together, self.constant("join_first", np.array([0, 1, heads * size])))
        if of_values.bias is None:
            return str(joined)
        output: str = self.node("Add", joined, self.constant(f"{value}.bias", array(of_values.bias)))
        return output

    def _first_rows(self, bias: str) -> str:
        """The first token's rows of a bias of attention scores, (1, heads, tokens)."""
        zero = self.constant("whole_0", np.array(0))
        output: str = self.node("Gather", bias, zero, axis=2)
        return output

    def _score_mask(self, mask: str) -> str:
        """The mask as a summand of scores, (batch, 1, tokens)."""
        absent = self.node("Not", self.node("Cast", mask, to=TensorProto.BOOL))
        added = self.node("Mul", self.node("Cast", absent, to=TensorProto.FLOAT), self.constant("mask_scale", MASKED))
        output: str = self.node("Unsqueeze", added, self.constant("place_1", np.array([1])))
        return output

    def context(self, query: str, key: str, value: str, mask: str, attention: Attention) -> str:
        inputs = [query, key, value, "", mask]
        if attention.bias is not None:
            inputs.append(attention.bias)
        settings: dict[str, Any] = {
            "num_heads": attention.heads,
            "scale": attention.scale,
            "mask_filter_value": float(MASKED),
        }
        output: str = self.node("MultiHeadAttention", *inputs, domain=MICROSOFT, **settings)
        return output

    def gelu(self, states: str) -> str:
        output: str = self.node("Gelu", states, domain=MICROSOFT)
        return output

    def gelu_tanh(self, states: str) -> str:
        output: str = self.node("FastGelu", states, domain=MICROSOFT)
        return output


def rounded(weight: NDArray[np.float32], steps: int, axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Integers within ±`steps` and their scales along `axis`, which is kept with length 1."""
    scale = scales(weight / np.float32(steps), axis)
    return np.rint(weight / scale).astype(np.int8), scale


def column_scales(table: NDArray[np.float32]) -> NDArray[np.float32]:
    """Column scales of a table (rows, width) that has row scales too, shape (1, width).

    Without them, a column that is large in every row, as in position embeddings, would determine the scales of all
    rows. They are computed after dividing each row by its scale, so that a large row does not determine them.
    """
    return scales(table / scales(table, axis=1), axis=0)


def scales(values: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """The largest magnitude along `axis`, which is kept with length 1; a tiny number, not zero, for zeros."""
    largest: NDArray[np.float32] = np.abs(values).max(axis=axis, keepdims=True)
    return np.maximum(largest, np.float32(2.0**-120)).astype(np.float32)
