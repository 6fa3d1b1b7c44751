"""Layouts of a batch's tokens: padded to a rectangle, or packed without padding."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

ROWS = 128
"""Packed batches are filled up to a multiple of this many rows. Fewer sizes are fewer shapes, each of which the CPU's
library prepares separately."""


def bound_by_launches(device: torch.device) -> bool:
    """Whether small operations take the time of their launch, whatever they compute: on all devices but CPUs."""
    return device.type != "cpu"


class Layout(ABC):
    """Maps states of shape (rows, width) to the tokens of a batch of shape (batch, tokens)."""

    @abstractmethod
    def ids(self, input_ids: Tensor) -> Tensor:
        """Token ids, shape (rows,), of `input_ids`, shape (batch, tokens)."""

    @abstractmethod
    def positions(self) -> Tensor:
        """The position of each token in its text, from 0, shape (rows,), or (tokens,) if each text has all."""

    def add(self, states: Tensor, of_positions: Tensor) -> Tensor:
        """The sum of states (rows, width) and what each of `positions` has."""
        return states + of_positions

    @abstractmethod
    def firsts(self, states: Tensor) -> Tensor:
        """The states of each text's first token, shape (batch, width)."""

    @abstractmethod
    def spread(self, states: Tensor) -> Tensor:
        """States (rows, width) as a rectangle (batch, tokens, width)."""

    @abstractmethod
    def gather(self, states: Tensor) -> Tensor:
        """States of a rectangle (batch, tokens, width) as rows (rows, width)."""


class Padded(Layout):
    """Every token of the rectangle is a row, padding included."""

    def __init__(self, attention_mask: Tensor) -> None:
        self.batch, self.tokens = attention_mask.shape
        self.device = attention_mask.device

    def ids(self, input_ids: Tensor) -> Tensor:
        return input_ids.flatten()

    def positions(self) -> Tensor:
        positions = torch.arange(self.tokens, device=self.device)
        # On a GPU the gradients of an embedding's row are added one after the other, those of a sum at once.
        return positions if bound_by_launches(self.device) else positions.repeat(self.batch)

    def add(self, states: Tensor, of_positions: Tensor) -> Tensor:
        shape = (-1, self.tokens, states.shape[-1])
        return (states.view(shape) + of_positions.view(shape)).flatten(0, 1)

    def firsts(self, states: Tensor) -> Tensor:
        return states.view(self.batch, self.tokens, -1)[:, 0]

    def spread(self, states: Tensor) -> Tensor:
        return states.view(self.batch, self.tokens, -1)

    def gather(self, states: Tensor) -> Tensor:
        return states.flatten(0, 1)


class Packed(Layout):
    """Tokens are rows, followed by one or more spare rows. Padding in the rectangle is a copy of a spare row.

    Spare rows have the padding's embedding. Nothing reads them, so they have no gradient.
    """

    def __init__(self, attention_mask: Tensor) -> None:
        self.batch, self.tokens = attention_mask.shape
        self.indices = attention_mask.flatten().nonzero().squeeze(1)  # of tokens in the flattened rectangle
        count = len(self.indices)
        self.size = (count // ROWS + 1) * ROWS
        self.rows = torch.full((self.batch * self.tokens,), count, device=attention_mask.device)
        self.rows[self.indices] = torch.arange(count, device=attention_mask.device)

    def ids(self, input_ids: Tensor) -> Tensor:
        ids = input_ids.flatten()
        packed = ids.new_zeros(self.size)
        packed[: len(self.indices)] = ids[self.indices]
        return packed

    def positions(self) -> Tensor:
        positions = self.indices.new_zeros(self.size)
        positions[: len(self.indices)] = self.indices % self.tokens
        return positions

    def firsts(self, states: Tensor) -> Tensor:
        return states.index_select(0, self.rows[:: self.tokens])

    def spread(self, states: Tensor) -> Tensor:
        spread: Tensor = _Spread.apply(states, self)  # type: ignore[no-untyped-call]
        return spread

    def gather(self, states: Tensor) -> Tensor:
        gathered: Tensor = _Gather.apply(states, self)  # type: ignore[no-untyped-call]
        return gathered

    def to_rectangle(self, states: Tensor) -> Tensor:
        """`spread` without autograd."""
        return states.index_select(0, self.rows).view(self.batch, self.tokens, -1)

    def to_rows(self, states: Tensor) -> Tensor:
        """`gather` without autograd."""
        count = len(self.indices)
        rows = states.new_empty(self.size, states.shape[-1])
        torch.index_select(states.flatten(0, 1), 0, self.indices, out=rows[:count])
        rows[count:] = 0
        return rows


class _Spread(Function):
    """`spread` with a faster backward pass. Autograd would accumulate gradients, though only spare rows repeat."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, layout: Packed) -> Tensor:
        ctx.layout = layout
        return layout.to_rectangle(states)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.layout.to_rows(gradients[0]), None


class _Gather(Function):
    """`gather`, whose backward pass gives padding no gradient, since spare rows have none."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, layout: Packed) -> Tensor:
        ctx.layout = layout
        return layout.to_rows(states)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.layout.to_rectangle(gradients[0]), None
