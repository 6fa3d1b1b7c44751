"""OpenVINO with int8 weights, one scale an output; what comes into a layer is rounded token by token as it runs.

A token's answer then depends on no other tweet of its batch, and a channel that stands out costs the others of its own
token alone their steps.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from chirplet.config import Index
from chirplet.quantizer.base import Calibration, Quantization, Quantizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class OpenVinoInt8Weights(Quantizer):
    """`group_size` channels of a token share a scale; 0 leaves activations in floating point."""

    group_size: Index

    def prepare(self, model: "PreTrainedModel", calibration: Calibration, workspace: Path) -> Quantization:
        from chirplet.quantizer.openvino_graph import OpenVinoWeights

        return OpenVinoWeights(model, self.group_size, workspace)
