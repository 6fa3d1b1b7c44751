"""Weights cast to a type of sixteen bits: what `bf16` and `fp16` do."""

from collections.abc import Collection
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from chirplet.quantizer.base import Quantization

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Cast(Quantization):
    """All weights in one type, saved as `transformers` saves them; nothing is kept or left by layers."""

    layers = ()

    def __init__(self, model: "PreTrainedModel", dtype: torch.dtype) -> None:
        self.model = model
        self.dtype = dtype
        self.facts: dict[str, Any] = {"weights": str(dtype).removeprefix("torch.")}

    def write(self, folder: Path, excluded: Collection[str]) -> None:
        model = deepcopy(self.model)
        torch.nn.Module.to(model, dtype=self.dtype)
        model.save_pretrained(folder)
