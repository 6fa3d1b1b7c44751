"""Distillation losses, by hand."""

import math

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, RobertaConfig, RobertaForSequenceClassification

from chirplet.distiller.loss.losses import RelationImitation, Signals, StateImitation, observe

NONE = torch.zeros(1, 2)


def test_states_are_compared_over_real_tokens_alone_by_hand():
    """Differences of 1 and 3 in one of two places, a third token being padding: (1 + 9) / 4."""
    student = Signals(NONE, (torch.zeros(1, 3, 2),))
    teacher = Signals(NONE, (torch.tensor([[[1.0, 0.0], [0.0, 3.0], [99.0, 99.0]]]),))
    loss = StateImitation([(0, 0)], 2, 2)(student, teacher, torch.tensor([[1, 1, 0]]))
    assert loss.item() == pytest.approx(2.5)


def test_a_map_between_widths_is_trained_and_where_they_agree_there_is_none():
    assert [tuple(weight.shape) for weight in StateImitation([(0, 0)], 2, 5).parameters()] == [(5, 2)]
    assert list(StateImitation([(0, 0)], 3, 3).parameters()) == []


def test_relations_by_hand():
    """One head of width 1, two tokens: queries (1, 0), keys (ln 3, 0) give the rows 3/4 : 1/4 and 1/2 : 1/2."""
    teacher_relations = {"q": torch.tensor([[[1.0], [0.0], [7.0]]]), "k": torch.tensor([[[math.log(3)], [0.0], [7.0]]])}
    student_relations = {"q": torch.zeros(1, 3, 1), "k": torch.zeros(1, 3, 1)}
    student, teacher = Signals(NONE, (), (student_relations,)), Signals(NONE, (), (teacher_relations,))
    loss = RelationImitation(["qk"], 0, 0, heads=1)(student, teacher, torch.tensor([[1, 1, 0]]))
    first = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert loss.item() == pytest.approx(first / 2, rel=1e-5)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_what_is_observed_is_what_transformers_computes(family, attention):
    kinds = {"bert": (BertConfig, BertForSequenceClassification)}
    kinds["roberta"] = (RobertaConfig, RobertaForSequenceClassification)
    config, architecture = kinds[family]
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16}
    model = architecture(config(vocab_size=30, num_labels=3, attn_implementation=attention, **sizes)).eval()
    batch = {"input_ids": torch.randint(3, 30, (2, 5)), "attention_mask": torch.tensor([[1] * 5, [1] * 3 + [0] * 2])}
    seen = observe(model, batch)
    torch.testing.assert_close(seen.logits, model(**batch).logits)
    assert [tuple(state.shape) for state in seen.states] == [(2, 5, 16)] * 4
    for layer, (states, projections) in enumerate(zip(seen.states, seen.projections, strict=False)):
        own = model.base_model.encoder.layer[layer].attention.self
        torch.testing.assert_close(projections["q"], own.query(states))
        torch.testing.assert_close(projections["v"], own.value(states))
        assert not own.query._forward_hooks
    assert len(seen.projections) == 3
