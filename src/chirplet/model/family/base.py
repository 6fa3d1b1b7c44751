"""The parts that encoders with a head have in common: embeddings, layers, pooler, head."""

from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from chirplet.system.error import ModelError


def encoder_layers(model: PreTrainedModel) -> nn.ModuleList:
    """The encoder's layers, lowest first.

    Raises:
        ModelError: the architecture has none where the BERT and RoBERTa families have them.
    """
    layers = getattr(getattr(model.base_model, "encoder", None), "layer", None)
    if not isinstance(layers, nn.ModuleList):
        raise ModelError(f"models of type {model.config.model_type!r} have no encoder.layer; should be BERT or RoBERTa")
    return layers


def head_modules(model: PreTrainedModel) -> list[nn.Module]:
    """Everything outside the encoder."""
    return [module for module in model.children() if module is not model.base_model]


def head_logits(model: PreTrainedModel, first: Tensor) -> Tensor:
    """What the head makes of the first token's states: (batch, width) to logits (batch, classes)."""
    parts: Any = model
    pooler = getattr(parts.base_model, "pooler", None)
    states = first[:, None]
    logits: Tensor = parts.classifier(states if pooler is None else parts.dropout(pooler(states)))
    return logits


def word_embeddings(model: PreTrainedModel) -> nn.Embedding:
    """The table of the vocabulary."""
    table = model.get_input_embeddings()
    assert isinstance(table, nn.Embedding)
    return table


def is_head(model: PreTrainedModel, name: str) -> bool:
    """Whether a parameter of that name is outside the encoder."""
    return not name.startswith(f"{model.base_model_prefix}.")


def depth_from_top(model: PreTrainedModel, name: str) -> int:
    """How far below the head a parameter lies.

    0 is the head and the pooler, 1 the last of L layers, L the first, L + 1 the embeddings.
    """
    if is_head(model, name):
        return 0
    part, *rest = name.removeprefix(f"{model.base_model_prefix}.").split(".")
    count = len(encoder_layers(model))
    if part == "pooler":
        return 0
    if part == "encoder" and rest[0] == "layer":
        return count - int(rest[1])
    if part == "embeddings":
        return count + 1
    raise ModelError(f"parameter {name!r} is neither of the embeddings, a layer, the pooler nor the head")
