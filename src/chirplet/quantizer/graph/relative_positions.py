"""Scores by relative position as they are exported: only for the positions that a text reaches.

DeBERTa-v2 of transformers multiplies each query and key by the embeddings of all relative positions (512 in its
published models), copied for every text, and selects a few of the products. A short text reaches few positions: two
texts' worth of tokens.
"""

import contextlib
from collections.abc import Iterator
from functools import partial
from math import log
from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.deberta_v2.modeling_deberta_v2 import DisentangledSelfAttention


@contextlib.contextmanager
def reached_positions_alone(model: nn.Module) -> Iterator[None]:
    """Give the attentions of `model` another method within the block, which computes the same scores."""
    attentions: list[Any] = [module for module in model.modules() if isinstance(module, DisentangledSelfAttention)]
    for attention in attentions:
        attention.disentangled_attention_bias = partial(_position_scores, attention)
    try:
        yield
    finally:
        for attention in attentions:
            del attention.disentangled_attention_bias  # the class's method is visible again


def _position_scores(
    attention: Any,
    query: Tensor,
    key: Tensor,
    relative_positions: Tensor,
    embeddings: Tensor,
    scale_factor: int,
) -> Tensor:
    """Scores between contents and positions (He et al. 2020, arXiv 2006.03654, equation 4).

    Args:
        attention: the module of transformers.
        query: shape (batch · heads, tokens, head size).
        key: shape as `query`.
        relative_positions: buckets of query - key, shape (1, tokens, tokens).
        embeddings: of relative positions, shape (2 · span, hidden size).
        scale_factor: as in transformers.

    Returns:
        Shape (batch · heads, tokens, tokens).
    """
    tokens, span, heads = query.shape[1], attention.pos_ebd_size, attention.num_attention_heads
    reach = torch.sym_min(tokens, span) if _buckets_are_near(attention) else span
    scale = (query.shape[-1] * scale_factor) ** 0.5
    places = (relative_positions.long().view(1, 1, tokens, tokens), 2 * reach - 1)
    scores = query.new_zeros(())
    kinds = (("c2p", "key", query, 1), ("p2c", "query", key, -1))
    for kind, projection, states, sign in kinds:
        if kind not in attention.pos_att_type:
            continue
        name = f"{projection}_proj" if attention.share_att_key else f"pos_{projection}_proj"
        projected = getattr(attention, name)(embeddings[: 2 * span])  # (2 · span, hidden size), the same for all texts
        reached = projected.view(2 * span, heads, -1).transpose(0, 1)[:, span - reach : span + reach]
        products = states.view(-1, heads, tokens, states.shape[-1]) @ reached.transpose(1, 2)
        columns = (sign * places[0] + reach).clamp(0, places[1]).expand(products.shape[0], heads, tokens, tokens)
        selected = products.gather(-1, columns)
        scores = scores + (selected if sign == 1 else selected.transpose(2, 3)) / scale
    return scores.view(-1, tokens, tokens)


def _buckets_are_near(attention: Any) -> bool:
    """Whether no position has a bucket with a larger number than the position's.

    Positions up to the middle one have their own bucket. From there, buckets grow with the logarithm, which is steepest
    at the middle.
    """
    middle = attention.position_buckets // 2
    if middle < 1:
        return True
    farthest = attention.max_relative_positions - 1
    return bool(farthest > middle and (middle - 1) / middle <= log(farthest / middle))
