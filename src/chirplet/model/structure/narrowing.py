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


@torch.no_grad()
def narrowed(model: PreTrainedModel, layers: list[int], heads: list[Tensor], neurons: list[Tensor]) -> PreTrainedModel:
    """The smaller model, in evaluation mode. It computes what `model` would with the removed parts set to zero.

    Args:
        model: an encoder with a head.
        layers: indices of the kept layers, ascending.
        heads: indices of the kept heads of each kept layer, ascending; the same number, a divisor of the hidden size.
        neurons: indices of the kept neurons of each kept layer, ascending; the same number.
    """
    family, config = family_of(model), copy.deepcopy(model.config)
    config.update(family.size_changes(layers=len(layers), heads=len(heads[0]), intermediate_size=len(neurons[0])))
    with torch.random.fork_rng(devices=[]):
        smaller: PreTrainedModel = type(model)(config)
    size, wide = family.sizes(model.config).head_size, family.sizes(config).head_size
    prefix = f"{model.base_model_prefix}.{family.layers_name}."
    before = model.state_dict()
    state = {name: value for name, value in before.items() if not name.startswith(prefix)}
    for index, layer in enumerate(layers):
        start = f"{prefix}{layer}."
        part = {name.removeprefix(start): value for name, value in before.items() if name.startswith(start)}
        part = _fewer_neurons(family, _fewer_heads(family, part, heads[index], size, wide), neurons[index])
        state |= {f"{prefix}{index}.{name}": value for name, value in part.items()}
    smaller.load_state_dict(state)
    smaller.set_attn_implementation(model.config._attn_implementation)
    smaller.eval()
    return smaller


def _fewer_neurons(family: Family, layer: dict[str, Tensor], kept: Tensor) -> dict[str, Tensor]:
    up, down = family.matrix_names["intermediate"], family.matrix_names["output"]
    return layer | {
        f"{up}.weight": layer[f"{up}.weight"][kept],
        f"{up}.bias": layer[f"{up}.bias"][kept],
        f"{down}.weight": layer[f"{down}.weight"][:, kept],
    }


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
