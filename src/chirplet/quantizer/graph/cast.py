"""Cast weights to a type of 16 bits, for `bf16` and `fp16`."""

from collections.abc import Collection
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from chirplet.quantizer.base import Quantization

if TYPE_CHECKING:
    from transformers import PreTrainedModel


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
