"""A smaller dense model with some of a model's layers, heads and neurons, within what `config.json` can express.

All feed-forward parts have one width, and heads share the width of the model: heads · head size = hidden size. Fewer
heads therefore do not make the matrices smaller. Each kept head gets a larger share of the width and fills a part of
it; the rest is zero, and the softmax has fewer rows.
"""

import copy
from math import sqrt

import torch
from torch import Tensor
from transformers import PreTrainedModel

from chirplet.model.family import Family, family_of
from chirplet.model.family.base import MatrixName
from chirplet.system.error import ModelError, first_line


@torch.no_grad()
def narrowed(
    model: PreTrainedModel, layers: list[int], heads: list[Tensor] | None, neurons: list[Tensor] | None
) -> PreTrainedModel:
    """The smaller model, in evaluation mode. It computes what `model` would with the removed parts set to zero.

    Args:
        model: an encoder with a head.
        layers: indices of the kept layers, ascending.
        heads: indices of the kept heads of each kept layer, ascending; the same number, a divisor of the hidden size;
            None keeps all.
        neurons: indices of the kept neurons of each kept layer, ascending; the same number; None keeps all.

    Raises:
        ModelError: the model's family cannot do without one of the other layers, or stores weights outside its layers
            whose number depends on them.
    """
    family, config = family_of(model), copy.deepcopy(model.config)
    head_count, width = (None if kept is None else len(kept[0]) for kept in (heads, neurons))
    config.update(family.layer_changes(config, layers) | family.size_changes(heads=head_count, intermediate_size=width))
    with torch.random.fork_rng(devices=[]):
        smaller: PreTrainedModel = type(model)(config)
    before, after = family.sizes(model.config), family.sizes(config)
    prefix = f"{model.base_model_prefix}.{family.layers_name}."
    weights = model.state_dict()
    state = {name: value for name, value in weights.items() if not name.startswith(prefix)}
    # The first groups of weights where layers share them, since such layers are the lowest.
    shared = family.distinct_layers(model.config) != before.layers
    for index, layer in enumerate(range(family.distinct_layers(config)) if shared else layers):
        start = f"{prefix}{layer}."
        part = {name.removeprefix(start): value for name, value in weights.items() if name.startswith(start)}
        if heads is not None:
            part = _fewer_heads(family, part, heads[index], before.head_size, after.head_size)
        if neurons is not None:
            part = _fewer_neurons(family, part, neurons[index], before.intermediate_size)
        state |= {f"{prefix}{index}.{name}": value for name, value in part.items()}
    try:
        smaller.load_state_dict(state)
    except RuntimeError as error:  # only architectures that chirplet does not know by name
        raise ModelError(f"a model of type {config.model_type!r} cannot lose layers ({first_line(error)})") from error
    smaller.set_attn_implementation(model.config._attn_implementation)
    smaller.eval()
    return smaller


def _fewer_neurons(family: Family, layer: dict[str, Tensor], kept: Tensor, width: int) -> dict[str, Tensor]:
    up, down = family.matrix_names["intermediate"], family.matrix_names["output"]
    rows = family.neuron_rows(kept, width).flatten()
    inputs = {name: layer[name][rows] for name in (f"{up}.weight", f"{up}.bias") if name in layer}
    return layer | inputs | {f"{down}.weight": layer[f"{down}.weight"][:, kept]}


def _fewer_heads(family: Family, layer: dict[str, Tensor], kept: Tensor, size: int, wide: int) -> dict[str, Tensor]:
    """The kept heads of `size` rows each, spread over `wide` rows each."""
    if size == wide:
        return layer
    old = (kept[:, None] * size + torch.arange(size)).flatten()
    new = (torch.arange(len(kept))[:, None] * wide + torch.arange(size)).flatten()
    part = dict(layer)
    projections: tuple[MatrixName, ...] = ("query", "key", "value")
    for matrix in projections:
        # Attention divides scores by the root of the head size, which is larger now.
        factor = sqrt(wide / size) if matrix == "query" else 1.0
        for kind in ("weight", "bias"):
            name = f"{family.matrix_names[matrix]}.{kind}"
            part[name] = torch.zeros_like(layer[name])
            part[name][new] = layer[name][old] * factor
    name = f"{family.matrix_names['attention_output']}.weight"
    part[name] = torch.zeros_like(layer[name])
    part[name][:, new] = layer[name][:, old]
    return part
