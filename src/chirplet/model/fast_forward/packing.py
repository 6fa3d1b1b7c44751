"""Where a batch's tokens stand: padded to a rectangle, or packed one after another without padding."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

ROWS = 128
"""A packed batch is filled up to a multiple of so many rows: fewer sizes are fewer shapes, and the CPU's library
prepares its products shape by shape."""


class Layout(ABC):
    """How states of shape (rows, width) belong to the tokens of a batch of shape (batch, tokens)."""

    @abstractmethod
    def ids(self, input_ids: Tensor) -> Tensor:
        """Token ids, shape (rows,), of `input_ids`, shape (batch, tokens)."""

    @abstractmethod
    def positions(self) -> Tensor:
        """How many tokens stand before each in its text, shape (rows,)."""

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
    """Every place of the rectangle is a row."""

    def __init__(self, attention_mask: Tensor) -> None:
        self.batch, self.tokens = attention_mask.shape
        self.device = attention_mask.device

    def ids(self, input_ids: Tensor) -> Tensor:
        return input_ids.flatten()

    def positions(self) -> Tensor:
        return torch.arange(self.tokens, device=self.device).repeat(self.batch)

    def firsts(self, states: Tensor) -> Tensor:
        return states.view(self.batch, self.tokens, -1)[:, 0]

    def spread(self, states: Tensor) -> Tensor:
        return states.view(self.batch, self.tokens, -1)

    def gather(self, states: Tensor) -> Tensor:
        return states.flatten(0, 1)


class Packed(Layout):
    """Tokens alone are rows, and then some spare rows, at least one; padding in the rectangle is a copy of a spare row.

    Spare rows hold the padding's embedding, are read by nobody, and so have no gradient.
    """

    def __init__(self, attention_mask: Tensor) -> None:
        self.batch, self.tokens = attention_mask.shape
        self.places = attention_mask.flatten().nonzero().squeeze(1)  # of each token in the rectangle
        count = len(self.places)
        self.size = (count // ROWS + 1) * ROWS
        self.rows = torch.full((self.batch * self.tokens,), count, device=attention_mask.device)
        self.rows[self.places] = torch.arange(count, device=attention_mask.device)

    def ids(self, input_ids: Tensor) -> Tensor:
        ids = input_ids.flatten()
        packed = ids.new_zeros(self.size)
        packed[: len(self.places)] = ids[self.places]
        return packed

    def positions(self) -> Tensor:
        positions = self.places.new_zeros(self.size)
        positions[: len(self.places)] = self.places % self.tokens
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
        """`spread`, of which autograd knows nothing."""
        return states.index_select(0, self.rows).view(self.batch, self.tokens, -1)

    def to_rows(self, states: Tensor) -> Tensor:
        """`gather`, of which autograd knows nothing."""
        count = len(self.places)
        rows = states.new_empty(self.size, states.shape[-1])
        torch.index_select(states.flatten(0, 1), 0, self.places, out=rows[:count])
        rows[count:] = 0
        return rows


class _Spread(Function):
    """Autograd's own would add up gradients row by row, though but for spare rows each is there once."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, layout: Packed) -> Tensor:
        ctx.layout = layout
        return layout.to_rectangle(states)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.layout.to_rows(gradients[0]), None


class _Gather(Function):
    """The other way; spare rows have no gradient, so that padding has none either."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, layout: Packed) -> Tensor:
        ctx.layout = layout
        return layout.to_rows(states)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.layout.to_rectangle(gradients[0]), None
