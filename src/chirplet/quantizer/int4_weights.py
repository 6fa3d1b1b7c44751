"""ONNX Runtime with int4 weights: sixteen steps for each block of them, so the files are an eighth of fp32's and a bit.

What comes into a layer is rounded by blocks of one token's channels, so no text's answer depends on its neighbours.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from chirplet.quantizer.base import Calibration, Quantization, Quantizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Int4Weights(Quantizer):
    """`block_size` inputs of an output share a scale; `activations` says what products are made of. Layers that are
    kept have weights of 8 bits."""

    block_size: Literal[16, 32, 64, 128]
    activations: Literal["int8", "fp32"]

    def prepare(self, model: "PreTrainedModel", calibration: Calibration, workspace: Path) -> Quantization:
        from chirplet.quantizer.graph.onnx_blockwise_nodes import BlockQuantization

        return BlockQuantization(model, self.block_size, self.activations)
