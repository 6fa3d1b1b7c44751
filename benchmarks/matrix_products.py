"""The matrix products of one training step of an encoder like BERT, without anything else."""

from collections.abc import Callable
from typing import Any


def products(shape: tuple[int, int, int], config: Any, dtype: Any, reduced: bool) -> Callable[[], None]:
    """A function that computes the matrix products of one step on a batch of (texts, tokens, rows when packed).

    These are the products of the whole model on the padded batch. If `reduced`, they are those that chirplet computes:
    padding only in attention, and the last layer only for the first token.
    """
    import torch

    rows, tokens, packed = shape
    everywhere = packed if reduced else rows * tokens
    width, wide, heads = config.hidden_size, config.intermediate_size, config.num_attention_heads
    calls: list[tuple[Any, Any, bool]] = []

    def random(*size: int) -> Any:
        return torch.randn(*size).to(dtype)

    def linear(count: int, into: int, out: int) -> None:
        # Forward, the gradient of the input and that of the weight.
        x, weight, gradient = random(count, into), random(out, into), random(count, out)
        calls.extend([(x, weight.t(), False), (gradient, weight, False), (gradient.t(), x, False)])

    def attention(asking: int) -> None:
        size = width // heads
        query, key = random(rows * heads, asking, size), random(rows * heads, tokens, size)
        shares = random(rows * heads, asking, tokens)
        scores, context, of_key = (query, key.transpose(1, 2)), (shares, key), (shares.transpose(1, 2), query)
        # Forward, and the gradients of shares, value, query and key, which have the same shapes.
        calls.extend((*pair, True) for pair in (scores, context, scores, of_key, context, of_key))

    layers = config.num_hidden_layers
    for layer in range(layers):
        if reduced and layer == layers - 1:
            linear(everywhere, width, 2 * width)
            linear(rows, width, width)
            attention(1)
            count = rows
        else:
            linear(everywhere, width, 3 * width)
            attention(tokens)
            count = everywhere
        linear(count, width, width)
        linear(count, width, wide)
        linear(count, wide, width)

    def step() -> None:
        for left, right, batched in calls:
            torch.bmm(left, right) if batched else torch.mm(left, right)

    return step
