"""Cast weights to a type of 16 bits, for `bf16` and `fp16`."""

from collections.abc import Collection
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from chirplet.model.loading.quiet import quiet
from chirplet.quantizer.base import Quantization
from chirplet.quantizer.trial.small_model import sample, trial_model
from chirplet.runtime.pytorch import load_model
from chirplet.system.atomic_io import scratch_folder
from chirplet.system.error import QuantizationError, kind_and_message

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


class Cast(Quantization):
    """All weights in one type, saved by `transformers`. No layer can be excluded."""

    layers = ()

    def __init__(self, model: "PreTrainedModel", dtype: torch.dtype) -> None:
        self.model = model
        self.dtype = dtype
        self.facts: dict[str, Any] = {"weights": str(dtype).removeprefix("torch.")}

    def write(self, folder: Path, excluded: Collection[str]) -> None:
        model = deepcopy(self.model)
        torch.nn.Module.to(model, dtype=self.dtype)
        model.save_pretrained(folder)


def check_type(config: "PretrainedConfig", dtype: torch.dtype, name: str) -> None:
    """Check that models with this configuration can compute in `dtype`, which the quantizer `name` casts to.

    Raises:
        QuantizationError: they cannot: their code mixes types.
    """
    model = trial_model(config)
    if model is None:
        return
    ids, mask = sample(model, texts=2, tokens=5)
    try:
        with quiet(), scratch_folder() as folder, torch.inference_mode():
            Cast(model, dtype).write(folder, ())
            # A model in memory may compute what a saved one cannot: DeBERTa's first version opens biases in fp32.
            load_model(folder).eval()(input_ids=ids, attention_mask=mask)
    except RuntimeError as error:
        raise QuantizationError(
            f"quantizer: got {name}, but models of type {config.model_type!r} cannot compute in it "
            f"({kind_and_message(error)[:100]}); quantizer=onnx_int8 and quantizer=torch_int8 can quantize them"
        ) from error
