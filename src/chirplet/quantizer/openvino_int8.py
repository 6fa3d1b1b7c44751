"""OpenVINO with int8 weights and activations, whose ranges are learnt from train texts beforehand (static).

SmoothQuant (Xiao et al. 2023, arXiv 2211.10438) moves what stands out in a channel from activations into weights.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from chirplet.config.schema import Count, Probability
from chirplet.quantizer.base import Calibration, Quantization, Quantizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class OpenVinoInt8(Quantizer):
    """`calibration_texts` of train give the ranges; `smooth_quant_alpha` is an outlier's share moved to the weights."""

    calibration_texts: Count
    smooth_quant_alpha: Probability

    def prepare(self, model: "PreTrainedModel", calibration: Calibration, workspace: Path) -> Quantization:
        from chirplet.quantizer.graph.openvino import OpenVinoStatic

        return OpenVinoStatic(model, calibration, self.calibration_texts, self.smooth_quant_alpha, workspace)
