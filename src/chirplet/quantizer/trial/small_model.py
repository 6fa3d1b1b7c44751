"""Whether models of an architecture can be quantized: by trying it on a small one with random weights."""

import copy
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from chirplet.model.family import FAMILIES, family_of
from chirplet.system.error import QuantizationError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PretrainedConfig, PreTrainedModel

LEAST = 0.5
"""The least share of the weights outside embeddings that is in layers which int8 and int4 quantize."""


def trial_model(config: "PretrainedConfig") -> "PreTrainedModel | None":
    """A model with one layer, few words and random weights of an architecture that no family describes, else None.

    It is as wide as `config` says, since operations may depend on that. The architectures of `FAMILIES` have tests.
    """
    if config.model_type in FAMILIES:
        return None
    import torch
    from transformers import AutoModelForSequenceClassification

    from chirplet.model.loading.quiet import quiet

    small = copy.deepcopy(config)
    ids = [value for name, value in config.to_dict().items() if name.endswith("_token_id") and isinstance(value, int)]
    changes: dict[str, Any] = {family_of(config).names.layers: 1, "vocab_size": max(ids, default=0) + 2}
    if config.pad_token_id is None:
        changes["pad_token_id"] = 0  # a model has one when it is quantized
    small.update(changes)
    with quiet(), torch.random.fork_rng(devices=[]):
        try:
            model: PreTrainedModel = AutoModelForSequenceClassification.from_config(small, trust_remote_code=False)
        except (ValueError, IndexError, TypeError, RuntimeError):  # for example, the kind of each layer is listed
            model = AutoModelForSequenceClassification.from_config(config, trust_remote_code=False)
    model.eval()
    return model


def sample(model: "PreTrainedModel", texts: int, tokens: int) -> "tuple[Tensor, Tensor]":
    """Ids and mask of texts of the first token that is not padding, each a token shorter than the one before."""
    import torch

    padding = model.config.pad_token_id or 0
    mask = (torch.arange(tokens) < tokens - torch.arange(texts)[:, None].clamp(max=tokens - 1)).long()
    ids = torch.full_like(mask, 1 if padding == 0 else padding - 1)
    return torch.where(mask == 1, ids, padding), mask


def check_share(model: "PreTrainedModel", quantized: Collection[str]) -> None:
    """Check that enough of a model's weights are in the linear layers named in `quantized`.

    Raises:
        QuantizationError: less than `LEAST` are.
    """
    from torch import nn

    modules = dict(model.named_modules())
    tables = {module.weight for module in modules.values() if isinstance(module, nn.Embedding)}
    every = {parameter for parameter in model.parameters() if parameter.dim() > 1} - tables
    whole = {module.weight for name in quantized if isinstance(module := modules[name], nn.Linear)}
    share = sum(weight.numel() for weight in whole) / max(1, sum(weight.numel() for weight in every))
    if share < LEAST:
        raise QuantizationError(
            f"quantizer: of the weights of a model of type {model.config.model_type!r} only {share:.0%} are in linear "
            "layers, which int8 and int4 quantize; quantizer=bf16 and quantizer=fp16 take all"
        )
