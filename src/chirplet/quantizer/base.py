"""The interface of quantizers: prepare a model once, then write it with any of its layers excluded."""

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from chirplet.config.schema import Settings

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

    from chirplet.data.batching.tokens import Tokens


@dataclass(frozen=True)
class Calibration:
    """Tokens of train texts to calibrate activations on, and the padding id."""

    tokens: "Tokens"
    pad_id: int


class Quantization(ABC):
    """A model prepared for quantization.

    `layers` are the names of the layers that can be quantized or excluded individually, lowest first. `facts` are the
    method's choices for the record.
    """

    layers: tuple[str, ...]
    facts: dict[str, Any]

    @abstractmethod
    def write(self, folder: Path, excluded: Collection[str]) -> None:
        """Write the model's files into `folder`, with all of `layers` quantized except those `excluded`."""


@dataclass(frozen=True)
class RoundedTraining:
    """Settings of quantization-aware training.

    `learning_rate` is the peak, `warmup_fraction` a share of all steps, `batch_size` a number of texts, and
    `weight_steps` the number of steps from zero to the largest weight of an output.
    """

    epochs: int
    learning_rate: float
    weight_decay: float
    warmup_fraction: float
    batch_size: int
    weight_steps: int


class Quantizer(Settings, ABC):
    """Settings of one quantization method."""

    runtime: ClassVar[str]
    """The runtime of the models that it writes."""

    @property
    def training(self) -> RoundedTraining | None:
        """How the model is trained before it is quantized; None if it is not."""
        return None

    @abstractmethod
    def check(self, config: "PretrainedConfig") -> None:
        """Check that the method can quantize models with this configuration, before there is one.

        It takes some seconds if the model's architecture is in none of `FAMILIES`: a small one is tried.

        Raises:
            QuantizationError: it cannot; the message names the type of the model and what works instead.
        """

    @abstractmethod
    def prepare(self, model: "PreTrainedModel", calibration: Calibration, workspace: Path) -> Quantization:
        """Do the work that all variants share: export and calibrate.

        Args:
            model: a trained classifier in fp32, on the CPU, in evaluation mode.
            calibration: train texts.
            workspace: a folder for files that are needed until the last `write`.

        Raises:
            QuantizationError: the method cannot quantize the model.
            ModelError: a required library is not installed.
        """
