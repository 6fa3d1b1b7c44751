"""ONNX Runtime's nodes for weights with a scale per block.

`MatMulNBits` and `GatherBlockQuantized` use blocks along the inputs of a layer and along the rows of a table. Weights
have 4 bits, those of excluded layers 8.
"""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch import nn

from chirplet.quantizer.base import Quantization
from chirplet.quantizer.graph.arithmetic import MICROSOFT, Arithmetic, Linears, array
from chirplet.quantizer.graph.of_model import graph_of
from chirplet.quantizer.graph.onnx_int8_nodes import STEPS, Int8

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LEVELS = {"fp32": 1, "int8": 4}
"""ONNX Runtime's `accuracy_level` by type of activations."""


class BlockQuantization(Quantization):
    """Writes a new graph for each set of excluded layers, which takes a fraction of a second."""

    def __init__(self, model: "PreTrainedModel", block_size: int, activations: str) -> None:
        self.config = model.config
        self.graph = graph_of(model)
        self.block_size = block_size
        self.activations = activations
        self.layers = self.graph.layers
        self.facts: dict[str, Any] = {
            "weights": f"int4, one scale for {block_size} of an output or row",
            "activations": activations,
        } | self.graph.facts

    def write(self, folder: Path, excluded: Collection[str]) -> None:
        metadata = {"precision": f"int4/{self.activations}", "weight_bits": "4"}
        blocks = Blocks(excluded, self.block_size, LEVELS[self.activations])
        onnx.save(self.graph.build(blocks, metadata), folder / "model.onnx")
        self.config.save_pretrained(folder)


class Blocks(Int8):
    """ONNX Runtime's block operations, with 8 bits for excluded layers. Sliced tables are those of `Int8`."""

    def __init__(self, excluded: Collection[str], block_size: int, level: int) -> None:
        super().__init__(excluded, STEPS)
        self.block_size = block_size
        self.level = level

    def rows(self, name: str, table: NDArray[np.float32], operation: str, *which: str) -> str:
        if operation != "Gather":
            return super().rows(name, table, operation, *which)
        if name in self.excluded:
            return self.rounded_rows(name, table, operation, *which)
        codes, scale = in_blocks(table, self.block_size, bits=4)
        codes = codes.reshape(len(table), -1)[:, : table.shape[1]]
        packed = pairs(np.bitwise_and(codes - np.uint8(8), np.uint8(0xF))).tobytes()
        weight = helper.make_tensor(f"{name}.weight", TensorProto.INT4, table.shape, packed, raw=True)
        self.constants[weight.name] = weight
        output: str = self.node(
            "GatherBlockQuantized",
            weight.name,
            *which,
            self.constant(f"{name}.weight_scale", scale),
            domain=MICROSOFT,
            block_size=self.block_size,
            gather_axis=0,
            quantize_axis=1,
            name=f"{name}.lookup",
        )
        return output

    attend_first = Arithmetic.attend_first  # the last layer's keys and values have 4 bits too

    def linear(self, states: str, layers: Linears) -> list[str]:
        return [self._product(states, name, layer) for name, layer in layers.items()]

    constant_linear = linear  # which needs no scale of a whole batch

    def _product(self, states: str, name: str, layer: nn.Linear) -> str:
        bits = 8 if name in self.excluded else 4
        codes, scale = in_blocks(array(layer.weight), self.block_size, bits)
        inputs = [
            states,
            self.constant(f"{name}.weight", codes if bits == 8 else pairs(codes)),
            self.constant(f"{name}.weight_scale", scale),
            *([] if layer.bias is None else ["", "", self.constant(f"{name}.bias", array(layer.bias))]),
        ]
        sizes = {"K": layer.in_features, "N": layer.out_features, "bits": bits, "block_size": self.block_size}
        output: str = self.node(
            "MatMulNBits", *inputs, domain=MICROSOFT, accuracy_level=self.level, name=f"{name}.product", **sizes
        )
        return output


def in_blocks(weight: NDArray[np.float32], size: int, bits: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Codes (rows, blocks, size) of `bits` and scales (rows, blocks) of a weight (rows, columns).

    The middle code is zero. The largest weight of a block by magnitude has the lowest code, since there is one more
    code below the middle. The last block is filled with zeros.
    """
    rows, columns = weight.shape
    middle = 2 ** (bits - 1)
    blocks = np.pad(weight, ((0, 0), (0, -columns % size))).reshape(rows, -1, size)
    index = np.abs(blocks).argmax(axis=2, keepdims=True)
    extreme = np.take_along_axis(blocks, index, axis=2)
    # A block of zeros may have any scale.
    scale = np.where(extreme == 0, np.float32(1), extreme / np.float32(-middle))
    codes = np.clip(np.rint(blocks / scale) + middle, 0, 2 * middle - 1).astype(np.uint8)
    return codes, scale[:, :, 0]


def pairs(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Codes of 4 bits packed in pairs along the last axis, the first in the lower half of the byte."""
    both: NDArray[np.uint8] = codes[..., 0::2] | codes[..., 1::2] << np.uint8(4)
    return both
