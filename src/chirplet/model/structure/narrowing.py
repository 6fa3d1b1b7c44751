"""A smaller dense model from the layers, heads and neurons that are kept of another, as its `config.json` can say it.

BERT and RoBERTa have one width for all feed-forward parts, and heads that share the width of the model: heads ·
head size = hidden size. So fewer heads do not make the matrices smaller. Each one kept gets a larger share of the
width, of which it fills its own part; the rest is zero, and the softmax has fewer rows.
"""

import copy
from math import sqrt

import torch
from torch import Tensor
from transformers import PreTrainedModel


@torch.no_grad()
def narrowed(model: PreTrainedModel, layers: list[int], heads: list[Tensor], neurons: list[Tensor]) -> PreTrainedModel:
    """The smaller model, in evaluation mode, which computes what the other would without the rest.

    Args:
        model: a BERT or RoBERTa with a head.
        layers: indices of those kept, ascending.
        heads: for each kept layer the heads kept, ascending; as many in each, a divisor of the hidden size.
        neurons: for each kept layer the neurons kept, ascending; as many in each.
    """
    config = copy.deepcopy(model.config)
    config.num_hidden_layers = len(layers)
    config.num_attention_heads = len(heads[0])
    config.intermediate_size = len(neurons[0])
    with torch.random.fork_rng(devices=[]):
        smaller: PreTrainedModel = type(model)(config)
    size = config.hidden_size // model.config.num_attention_heads
    wide = config.hidden_size // config.num_attention_heads
    prefix = f"{model.base_model_prefix}.encoder.layer."
    before = model.state_dict()
    state = {name: value for name, value in before.items() if not name.startswith(prefix)}
    for place, layer in enumerate(layers):
        own = f"{prefix}{layer}."
        part = {name.removeprefix(own): value for name, value in before.items() if name.startswith(own)}
        part = _fewer_neurons(_fewer_heads(part, heads[place], size, wide), neurons[place])
        state |= {f"{prefix}{place}.{name}": value for name, value in part.items()}
    smaller.load_state_dict(state)
    smaller.set_attn_implementation(model.config._attn_implementation)
    smaller.eval()
    return smaller


def _fewer_neurons(layer: dict[str, Tensor], kept: Tensor) -> dict[str, Tensor]:
    return layer | {
        "intermediate.dense.weight": layer["intermediate.dense.weight"][kept],
        "intermediate.dense.bias": layer["intermediate.dense.bias"][kept],
        "output.dense.weight": layer["output.dense.weight"][:, kept],
    }


def _fewer_heads(layer: dict[str, Tensor], kept: Tensor, size: int, wide: int) -> dict[str, Tensor]:
    """The kept heads of `size` rows each, in shares of `wide` rows."""
    if size == wide:
        return layer
    old = (kept[:, None] * size + torch.arange(size)).flatten()
    new = (torch.arange(len(kept))[:, None] * wide + torch.arange(size)).flatten()
    part = dict(layer)
    for name in ("query", "key", "value"):
        # Scores are divided by the root of the head's size, which is larger now.
        factor = sqrt(wide / size) if name == "query" else 1.0
        for kind in ("weight", "bias"):
            own = layer[f"attention.self.{name}.{kind}"]
            moved = torch.zeros_like(own)
            moved[new] = own[old] * factor
            part[f"attention.self.{name}.{kind}"] = moved
    own = layer["attention.output.dense.weight"]
    moved = torch.zeros_like(own)
    moved[:, new] = own[:, old]
    part["attention.output.dense.weight"] = moved
    return part
