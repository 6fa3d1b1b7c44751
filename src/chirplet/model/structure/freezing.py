"""Freeze parameters."""

from typing import Literal

from transformers import PretrainedConfig, PreTrainedModel

from chirplet.model.family import family_of
from chirplet.system.error import ModelError

Method = Literal["full", "last_layers", "head"]
Layers = int | Literal["all"]


def freeze(model: PreTrainedModel, method: Method, layers: Layers | None, embeddings: bool) -> None:
    """Train the whole model, the head and the last `layers` layers, or the head alone, and freeze the rest.

    The pooler belongs to the head. `layers` and `embeddings` are used by `last_layers` only.

    Raises:
        ModelError: `layers` is missing, negative or more than the model has.
    """
    family = family_of(model)
    lowest = family.distinct_layers(model.config) + 1
    reach = {"full": lowest, "head": 0}.get(method)
    if reach is None:
        reach = trained_layers(model.config, layers)
    for name, parameter in model.named_parameters():
        depth = family.depth_from_top(model, name)
        parameter.requires_grad = depth <= reach or (method == "last_layers" and embeddings and depth == lowest)


def count_trainable(model: PreTrainedModel) -> int:
    """Number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def trained_layers(config: PretrainedConfig, layers: Layers | None) -> int:
    """The number of layers that `last_layers` trains of a model with this configuration.

    Raises:
        ModelError: `layers` is missing, negative or more than the model has.
    """
    family = family_of(config)
    available = family.distinct_layers(config)
    if layers == "all":
        return available
    if layers is None or not 0 <= layers <= available:
        whose = "the model's layers"
        if available < (computed := family.sizes(config).layers):
            whose = f"since the {computed} layers of a model of type {config.model_type!r} share their weights"
        raise ModelError(f"stage.layers: got {layers}, should be 0 to {available}, {whose}, or all")
    return layers
