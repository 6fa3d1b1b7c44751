"""The rows of a layer's attention that are computed: those that structured pruning has not emptied."""

from collections.abc import Mapping

import torch
from torch import nn

from chirplet.model.family.base import MatrixName
from chirplet.quantizer.graph.arithmetic import Attention

PROJECTIONS: tuple[MatrixName, ...] = ("query", "key", "value")


def filled_attention(
    matrices: Mapping[MatrixName, nn.Linear], heads: int, names: Mapping[nn.Module, str], bias: str | None = None
) -> Attention:
    """A layer's attention without the rows that are zero at the same index of all heads.

    Structured pruning leaves such rows, since heads in `config.json` must fill the width
    (`chirplet.model.structure.narrowing`). Scores and context are the same without them.

    Args:
        matrices: the layer's matrices.
        heads: the number of heads.
        names: the names of modules.
        bias: as in `Attention`.
    """
    parts, output = [matrices[name] for name in PROJECTIONS], matrices["attention_output"]
    size = parts[0].out_features // heads
    rows = torch.stack([_is_filled(part) for part in parts] + [(output.weight != 0).any(dim=0)])
    filled = rows.any(dim=0).view(heads, size).any(dim=0)
    filled[0] = True
    kept = filled.repeat(heads).nonzero().flatten()
    query, key, value = ({names[part]: _rows_of(part, kept)} for part in parts)
    narrow = _linear(output.weight[:, kept], output.bias)
    return Attention(query, key, value, {names[output]: narrow}, heads, len(kept) // heads, size**-0.5, bias)


def _is_filled(layer: nn.Linear) -> torch.Tensor:
    """Whether each output of a layer may be non-zero."""
    filled = (layer.weight != 0).any(dim=1)
    return filled if layer.bias is None else filled | (layer.bias != 0)


def _rows_of(layer: nn.Linear, kept: torch.Tensor) -> nn.Linear:
    return _linear(layer.weight[kept], None if layer.bias is None else layer.bias[kept])


def _linear(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    linear.weight = nn.Parameter(weight.detach(), requires_grad=False)
    if bias is not None:
        linear.bias = nn.Parameter(bias.detach(), requires_grad=False)
    return linear
