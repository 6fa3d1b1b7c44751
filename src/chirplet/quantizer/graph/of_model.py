"""The graph of a model of any family: written by hand where that is known, else exported."""

from typing import TYPE_CHECKING

from torch import nn

from chirplet.model.family import family_of
from chirplet.model.family.base import PostNormFamily
from chirplet.quantizer.graph.attention_rows import filled_attention
from chirplet.quantizer.graph.classifier import ClassifierGraph
from chirplet.quantizer.graph.onnx import WrittenGraph, post_norm_family
from chirplet.quantizer.trial.small_model import trial_model

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


def graph_of(model: "PreTrainedModel") -> ClassifierGraph:
    """The graph of `model`. Exporting one takes some seconds.

    Raises:
        QuantizationError: the model's activation is not supported, or it cannot be exported.
    """
    if isinstance(family_of(model), PostNormFamily):
        return WrittenGraph(model)
    from chirplet.quantizer.graph.exported import ExportedGraph

    return ExportedGraph(model)


def check_graph(config: "PretrainedConfig") -> None:
    """Check that models with this configuration have a graph. One that is in no family of `FAMILIES` is tried.

    Raises:
        QuantizationError: a graph written by hand has no such activation, or a model cannot be exported.
    """
    if isinstance(family_of(config), PostNormFamily):
        post_norm_family(config)
    elif (model := trial_model(config)) is not None:
        graph_of(model)


def fewest_inputs(model: "PreTrainedModel") -> int:
    """The fewest inputs of a linear layer in the graph of `model`.

    Raises:
        QuantizationError: the model's activation is not supported.
    """
    linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if isinstance(family_of(model), PostNormFamily):
        family = post_norm_family(model.config)
        names = {module: name for name, module in model.named_modules()}
        heads = family.sizes(model.config).heads
        attentions = [filled_attention(family.matrices(layer), heads, names) for layer in family.layers(model)]
        linears += [layer for attention in attentions for layer in attention.output.values()]
    return min(layer.in_features for layer in linears)
