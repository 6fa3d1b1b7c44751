"""Compute an encoder's last layer for the first token alone, which is all that a classification head reads."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import PreTrainedModel

from chirplet.model.structure import encoder_layers

POST_NORM = frozenset({"bert", "roberta", "xlm-roberta", "camembert"})
"""Architectures whose layers normalise after attention and feed-forward, as the short way here does."""


@contextmanager
def first_token_only(model: PreTrainedModel) -> Iterator[None]:
    """Within this block the last layer of `model` returns its first token's state only; logits stay the same.

    Every token is still a key and a value there, but queries, attention output and feed-forward are computed for the
    first alone: two of the layer's twelve parts of matrix products are left, where the feed-forward is four times as
    wide as the model. The module itself is not changed, so it is saved as ever. Architectures not in `POST_NORM` go
    their own, longer way.
    """
    if model.config.model_type not in POST_NORM:
        yield
        return
    last = encoder_layers(model)[-1]
    last.forward = partial(_first_token_forward, last)
    try:
        yield
    finally:
        del last.forward


def _first_token_forward(
    layer: nn.Module, hidden_states: Tensor, attention_mask: Tensor | None = None, *_: Any, **__: Any
) -> Tensor:
    """States of shape (batch, tokens, width) in, (batch, 1, width) out; the mask is (batch, 1, 1 or tokens, tokens)."""
    attention: Any = layer.attention
    inner = attention.self
    first = hidden_states[:, :1]  # (batch, 1, width)

    def heads(projected: Tensor) -> Tensor:  # (batch, tokens, width) -> (batch, heads, tokens, width / heads)
        split: Tensor = projected.unflatten(-1, (-1, inner.attention_head_size))
        return split.transpose(1, 2)

    context = scaled_dot_product_attention(
        heads(inner.query(first)),
        heads(inner.key(hidden_states)),
        heads(inner.value(hidden_states)),
        attn_mask=None if attention_mask is None else attention_mask[:, :, :1],
        dropout_p=inner.dropout.p if layer.training else 0.0,
        scale=inner.scaling,
    )
    attended = attention.output(context.transpose(1, 2).flatten(2), first)
    feed_forward: Callable[[Tensor], Tensor] = layer.feed_forward_chunk  # type: ignore[assignment]
    return feed_forward(attended)
