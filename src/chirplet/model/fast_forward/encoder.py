"""A faster forward and backward pass of the encoder.

It computes what `transformers` computes (the tests compare logits and gradients), with these differences:

- Tokens are packed into rows without padding; only attention uses a padded batch.
- States between layers stay in the compute type. Autocast would keep them in fp32 and cast them for each product.
- Query, key and value are one matrix product.
- The last layer is computed for the first token alone, the only one that a classification head reads. Every token is
  still a key and a value, but only 2/12 of the layer's matrix products remain if the feed-forward part is four times as
  wide as the model.
- A weight's gradient is computed in the memory layout of the weight.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.functional import dropout, embedding, layer_norm, scaled_dot_product_attention
from transformers import PreTrainedModel

from chirplet.model.family import PostNormFamily, family_of
from chirplet.model.family.base import Embeddings
from chirplet.model.fast_forward.packing import Layout, Packed, Padded, bound_by_launches
from chirplet.system.error import ModelError

Encoder = Literal["packed", "padded", "transformers"]
"""The implementation of the encoder: this module, on packed or padded batches, or `transformers`."""


def first_token_states(
    model: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor, packed: bool = True
) -> Tensor:
    """The encoder's state of the first token of each text, shape (batch, width), in autocast's type or fp32.

    Args:
        model: of a `PostNormFamily`. Its dropout rates, training mode and attention implementation (eager,
            otherwise scaled dot product) are used.
        input_ids: shape (batch, tokens), padded on the right.
        attention_mask: shape (batch, tokens), 1 for tokens, 0 for padding.
        packed: leave padding out of everything except attention.

    Raises:
        ModelError: the model is of another family.
    """
    device = input_ids.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32
    family = family_of(model)
    if not isinstance(family, PostNormFamily):
        raise ModelError(f"no fast forward pass supports models of type {model.config.model_type!r}")
    layers, heads = family.layers(model), family.sizes(model.config).heads
    full = device == "cpu" and bool(attention_mask.all())
    with torch.autocast(device, enabled=False):
        layout = Packed(attention_mask) if packed and not full else Padded(attention_mask)
        bias = None
        if not full:
            bias = torch.zeros_like(attention_mask, dtype=dtype).masked_fill_(attention_mask == 0, float("-inf"))
            bias = bias[:, None, None]  # (batch, 1, 1, tokens)
        of_positions = family.attention_bias(model, attention_mask.shape[1])
        if of_positions is not None:
            bias = of_positions.to(dtype)[None] if bias is None else bias + of_positions.to(dtype)
        states = _embed(family.embeddings(model), input_ids, layout, dtype)
        attend = _eager if model.config._attn_implementation == "eager" else _fused
        if bias is not None and attend is _eager:
            bias = bias.expand(len(attention_mask), heads, -1, -1).flatten(0, 1)
        for index, layer in enumerate(layers, start=1):
            states = _layer(family, layer, heads, states, layout, bias, attend, last=index == len(layers))
    return states


def _embed(embeddings: Embeddings, input_ids: Tensor, layout: Layout, dtype: torch.dtype) -> Tensor:
    words = embeddings.words
    positions = embedding(layout.positions() + embeddings.position_offset, embeddings.positions.weight)
    states = embedding(layout.ids(input_ids), words.weight, words.padding_idx, sparse=words.sparse)
    if embeddings.token_type is not None:
        positions = positions + embeddings.token_type
    states = embeddings.dropout(embeddings.norm(layout.add(states, positions))).to(dtype)
    return states if embeddings.projection is None else _linear(states, embeddings.projection)


def _layer(
    family: PostNormFamily,
    layer: nn.Module,
    heads: int,
    states: Tensor,
    layout: Layout,
    bias: Tensor | None,
    attend: Any,
    last: bool,
) -> Tensor:
    """States (rows, width) in and out; the last layer returns those of first tokens only, (batch, width)."""
    matrices, parts = family.matrices(layer), family.post_norm(layer)
    queried = layout.firsts(states) if last else states
    if last:
        (query,) = _heads(_linear(queried, matrices["query"])[:, None], 1, heads)
        key, value = _heads(layout.spread(_linear(states, matrices["key"], matrices["value"])), 2, heads)
        bias = None if bias is None else bias[..., :1, :]
    else:
        product = _linear(states, matrices["query"], matrices["key"], matrices["value"])
        query, key, value = _heads(layout.spread(product), 3, heads)
    rate = parts.attention_dropout.p if parts.attention_dropout.training else 0.0
    context = attend(query, key, value, bias, rate).transpose(1, 2).flatten(2)
    context = context[:, 0] if last else layout.gather(context)
    projected = _dropped(_linear(context, matrices["attention_output"]), parts.attention_output_dropout)
    attended = _normalized(projected + queried, parts.attention_norm)
    wide = parts.activation(_linear(attended, matrices["intermediate"]))
    return _normalized(_dropped(_linear(wide, matrices["output"]), parts.output_dropout) + attended, parts.output_norm)


def _dropped(states: Tensor, rate: nn.Dropout | None) -> Tensor:
    return states if rate is None else rate(states)


def _normalized(summed: Tensor, norm: nn.LayerNorm) -> Tensor:
    """Layer normalization in the states' type."""
    return layer_norm(summed, norm.normalized_shape, norm.weight.to(summed.dtype), norm.bias.to(summed.dtype), norm.eps)


def _heads(projected: Tensor, count: int, heads: int) -> tuple[Tensor, ...]:
    """(batch, tokens, count * width) to `count` of (batch, heads, tokens, width / heads)."""
    split = projected.unflatten(-1, (count, heads, -1)).permute(2, 0, 3, 1, 4)
    parts: tuple[Tensor, ...] = split.contiguous().unbind(0)
    return parts


def _eager(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, rate: float) -> Tensor:
    """softmax(Q Kᵀ / √size + bias) V as separate products, which is faster on CPUs, forward and backward.

    `bias` has the shape of the scores, (batch * heads, queries, keys), or one row for all queries.
    """
    rows, heads, queries, size = query.shape
    query, key, value = query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1)
    scores = torch.baddbmm(query.new_empty(()), query, key.transpose(1, 2), beta=0, alpha=size**-0.5)
    if bias is not None:
        scores.add_(bias)  # on a view of them autograd would copy the scores three times
    weights = scores.softmax(-1)
    if rate:
        weights = dropout(weights, rate)
    return torch.bmm(weights, value).view(rows, heads, queries, size)


def _fused(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, rate: float) -> Tensor:
    return scaled_dot_product_attention(query, key, value, bias, rate)


class _Linear(Function):
    """x Wᵀ + b for x of shape (n, in), W (out, in) and b (out,)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return torch.addmm(bias, x, weight.t())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        (gradient,) = gradients
        of_x, of_weight, of_bias = ctx.needs_input_grad
        return (
            gradient @ weight if of_x else None,
            # Autograd would compute the transpose of this, which then has to be copied.
            gradient.t() @ x if of_weight else None,
            gradient.sum(0) if of_bias else None,
        )


def _linear(states: Tensor, *projections: nn.Linear) -> Tensor:
    """All projections of the states as one product, (n, width) to (n, sum of widths), in the states' type."""
    weight = _joined([projection.weight for projection in projections], states.dtype)
    bias = _joined([projection.bias for projection in projections], states.dtype)
    product: Tensor = _Linear.apply(states, weight, bias)  # type: ignore[no-untyped-call]
    return product


def _joined(parts: list[Tensor], dtype: torch.dtype) -> Tensor:
    """The concatenation in another type: with few operations, or with few bytes moved."""
    if len(parts) == 1:
        return parts[0].to(dtype)
    if bound_by_launches(parts[0].device):
        return torch.cat(parts).to(dtype)
    return torch.cat([part.to(dtype) for part in parts])
