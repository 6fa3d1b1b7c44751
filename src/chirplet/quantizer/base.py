"""What a quantizer is: settings that prepare a model once, then write it with any of its layers left as they are."""

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from chirplet.config.schema import Settings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from chirplet.data.batching.tokens import Tokens


@dataclass(frozen=True)
class Calibration:
    """Train texts that activations may be looked at on, and the id that pads them."""

    tokens: "Tokens"
    pad_id: int


class Quantization(ABC):
    """A model that is ready to be quantized.

    `layers` are the names of what can be quantized or kept one by one, lowest first; `facts` what was decided on the
    way, for the record.
    """

    layers: tuple[str, ...]
    facts: dict[str, Any]

    @abstractmethod
    def write(self, folder: Path, excluded: Collection[str]) -> None:
        """Write the model's own files into `folder`, with all of `layers` quantized but those `kept`."""


@dataclass(frozen=True)
class RoundedTraining:
    """How a model is trained on while its linear layers compute with rounded weights and inputs.

    `learning_rate` is the peak, `warmup_fraction` a share of all steps, `batch_size` texts, and `weight_steps` are
    from zero to the largest weight of an output.
    """

    epochs: int
    learning_rate: float
    weight_decay: float
    warmup_fraction: float
    batch_size: int
    weight_steps: int


class Quantizer(Settings, ABC):
    """Settings of one way to quantize."""

    trains: ClassVar[bool] = False
    """Whether the model is trained on before it is quantized."""

    def training(self) -> RoundedTraining:
        """How it is trained on, where `trains`."""
        raise NotImplementedError

    @abstractmethod
    def prepare(self, model: "PreTrainedModel", calibration: Calibration, workspace: Path) -> Quantization:
        """Do once what all variants share: export, fuse, calibrate.

        Args:
            model: a trained classifier in fp32, on the CPU, in evaluation mode.
            calibration: train texts.
            workspace: a folder for files that are needed until the last `write`.

        Raises:
            QuantizationError: the model cannot be quantized so.
            ModelError: a library that is needed is not installed.
        """
