"""ONNX Runtime with int4 weights and a scale per block, in slightly more than an eighth of fp32's bytes.

A layer's input is rounded in blocks of a token's channels, so a text's logits do not depend on the rest of its batch.
"""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from chirplet.quantizer.base import Calibration, Quantization, Quantizer

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


class Int4Weights(Quantizer):
    """Quantizes weights to int4, with a scale per `block_size` inputs of an output.

    `activations` is the type that products are computed in. Excluded layers have weights of 8 bits.
    """

    runtime: ClassVar[str] = "onnxruntime"

    block_size: Literal[16, 32, 64, 128]
    activations: Literal["int8", "fp32"]

    def check(self, config: "PretrainedConfig") -> None:
        from chirplet.quantizer.graph.of_model import check_graph

        check_graph(config)

    def prepare(self, model: "PreTrainedModel", calibration: Calibration, workspace: Path) -> Quantization:
        from chirplet.quantizer.graph.onnx_blockwise_nodes import BlockQuantization

        return BlockQuantization(model, self.block_size, self.activations)
