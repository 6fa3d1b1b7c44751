"""The scores by relative position that are exported are those of transformers."""

import pytest
import torch

from chirplet.quantizer.graph.relative_positions import reached_positions_alone
from tiny_encoders import logits_of, rectangle, tiny_encoder

SETTINGS = {
    "shared": {},
    "own projections": {"share_att_key": False},
    "contents to positions": {"pos_att_type": ["c2p"]},
    "positions to contents": {"pos_att_type": ["p2c"]},
    "no buckets": {"position_buckets": -1},
    "buckets that grow faster than positions": {"position_buckets": 64},
    "buckets beyond the longest text": {"position_buckets": 128},
    "no relative positions": {"relative_attention": False},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_logits_are_those_of_transformers(settings):
    model = tiny_encoder("deberta-v2", **settings)
    for shape in ((1, 1), (3, 7), (2, 8), (2, 9), (2, 40)):
        ids, mask = rectangle(*shape)
        expected = logits_of(model, ids, mask)
        with reached_positions_alone(model):
            torch.testing.assert_close(logits_of(model, ids, mask), expected, rtol=1e-5, atol=1e-5)


def test_only_the_positions_that_a_text_reaches_are_multiplied(monkeypatch):
    model, widths = tiny_encoder("deberta-v2", position_buckets=16), []
    original = torch.Tensor.gather
    monkeypatch.setattr(
        torch.Tensor,
        "gather",
        lambda products, *rest: (widths.append(products.shape[-1]), original(products, *rest))[1],
    )
    with reached_positions_alone(model):
        logits_of(model, *rectangle(2, 5))
    assert widths == [10] * 6
