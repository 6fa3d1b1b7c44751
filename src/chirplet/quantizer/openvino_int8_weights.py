"""OpenVINO with int8 weights, one scale an output; what comes into a layer is rounded token by token as it runs.

A token's answer then depends on no other text of its batch, and a channel that stands out costs the others of its own
token alone their steps.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from chirplet.config.schema import Index
from chirplet.quantizer.base import Calibration, Quantization, Quantizer
from chirplet.system.error import QuantizationError
from chirplet.system.hardware import cpu_flags

if TYPE_CHECKING:
    from transformers import PreTrainedModel


GROUP_SIZE = 384
"""Channels of a token: what `auto` takes where layers have as many inputs."""
LANES = 16
"""Channels that OpenVINO rounds at once; groups of no multiple of it stay in floating point without a word."""


class OpenVinoInt8Weights(Quantizer):
    """`group_size` channels of a token share a scale; 0 leaves activations in floating point.

    `auto` is 384, or what the narrowest layer has, and 0 where OpenVINO cannot: on a CPU without VNNI.
    """

    group_size: Literal["auto"] | Index

    def prepare(self, model: "PreTrainedModel", calibration: Calibration, workspace: Path) -> Quantization:
        from chirplet.quantizer.graph.openvino import OpenVinoWeights

        return OpenVinoWeights(model, self._checked(_largest_group(model)), workspace)

    def _checked(self, largest: int) -> int:
        """The group size for a model whose layers all can have groups of up to `largest` channels."""
        if self.group_size == "auto":
            return min(GROUP_SIZE, largest)
        if self.group_size % LANES or self.group_size > largest:
            should = f"auto, 0 or a multiple of {LANES} up to {largest}" if largest else "auto or 0 for it on this CPU"
            raise QuantizationError(f"quantizer.group_size: got {self.group_size}, should be {should}")
        return self.group_size


def _largest_group(model: "PreTrainedModel") -> int:
    from chirplet.quantizer.graph.onnx import fewest_inputs

    if cpu_flags().isdisjoint({"avx512_vnni", "avx_vnni"}):
        return 0
    narrowest = fewest_inputs(model)
    return narrowest - narrowest % LANES
