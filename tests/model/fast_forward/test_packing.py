"""Packed rows and padded rectangles, by hand."""

import pytest
import torch

from chirplet.model.fast_forward.packing import ROWS, Packed, Padded

MASK = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 0, 0]])
IDS = torch.tensor([[5, 6, 0], [7, 8, 9], [4, 0, 0]])


def states(rows: int) -> torch.Tensor:
    return torch.arange(2.0 * rows).view(rows, 2).requires_grad_()


def test_tokens_are_packed_before_spare_rows():
    packed = Packed(MASK)
    assert packed.size == ROWS
    assert packed.ids(IDS)[:6].tolist() == [5, 6, 7, 8, 9, 4]
    assert packed.positions()[:6].tolist() == [0, 1, 0, 1, 2, 0]
    assert packed.firsts(states(ROWS))[:, 0].tolist() == [0.0, 4.0, 10.0]


def test_padding_in_the_rectangle_is_the_first_spare_row():
    assert Packed(MASK).spread(states(ROWS))[..., 0].tolist() == [[0, 2, 12], [4, 6, 8], [10, 12, 12]]


def test_there_is_a_spare_row_where_tokens_fill_all_others():
    packed = Packed(torch.ones(ROWS, 1, dtype=torch.long))
    assert packed.size == 2 * ROWS


@pytest.mark.parametrize("layout", [Packed, Padded])
def test_there_and_back_is_the_same_for_tokens_and_their_gradients(layout):
    made = layout(MASK)
    rows = states(len(made.positions()))
    back = made.gather(made.spread(rows))
    places = made.ids(torch.arange(9).view(3, 3))
    tokens = MASK.flatten()[places] == 1
    if layout is Packed:
        tokens[6:] = False
    torch.testing.assert_close(back[tokens], rows[tokens])
    (back[tokens] * torch.tensor([1.0, 3.0])).sum().backward()
    expected = tokens[:, None] * torch.tensor([1.0, 3.0])
    torch.testing.assert_close(rows.grad, expected)


def test_gradients_agree_with_finite_differences():
    packed = Packed(MASK)
    packed.size = 8  # what is spare beyond need costs time here alone
    packed.rows[packed.rows >= 6] = 6
    rows = torch.randn(8, 2, dtype=torch.double, generator=torch.Generator().manual_seed(0)).requires_grad_()
    mask = MASK[..., None].double()
    assert torch.autograd.gradcheck(lambda x: packed.gather(packed.spread(x).square() * mask)[:6], rows)
