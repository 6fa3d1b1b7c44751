"""The fast encoder computes what `transformers` computes, whatever it leaves out and however it is arranged."""

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from checkpoints import tiny_bert, tiny_roberta
from chirplet.model.family import family_of
from chirplet.model.fast_forward import encoder, packing
from chirplet.model.fast_forward.encoder import first_token_states
from chirplet.model.structure.freezing import freeze

BUILDERS = {"bert": tiny_bert, "roberta": tiny_roberta}


def opened(folder, attention="eager", dropout=0.0):
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(
        folder,
        num_labels=3,
        attn_implementation=attention,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        classifier_dropout=0.0,
    ).train()
    for parameter in model.parameters():  # a fresh model's biases are nought and its head is small
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model


@pytest.fixture(params=BUILDERS)
def folder(request, tmp_path):
    return BUILDERS[request.param](tmp_path)


def batch(padded=True):
    ids = torch.randint(5, 100, (5, 12), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    if padded:
        mask[1, 7:] = mask[3, 2:] = 0
    return ids, mask


def gradients(model):
    return {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}


def reference(model, ids, mask):
    model.zero_grad()
    pads = torch.where(mask == 1, ids, model.config.pad_token_id)
    logits = model(input_ids=pads, attention_mask=mask).logits
    logits.square().sum().backward()
    return logits.detach(), gradients(model)


def fast(model, ids, mask, packed=True):
    model.zero_grad()
    pads = torch.where(mask == 1, ids, model.config.pad_token_id)
    logits = family_of(model).head_logits(model, first_token_states(model, pads, mask, packed))
    logits.square().sum().backward()
    return logits.detach(), gradients(model)


def assert_same(actual, expected, tolerance=1e-4):
    torch.testing.assert_close(actual[0], expected[0], rtol=tolerance, atol=tolerance)
    assert actual[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        torch.testing.assert_close(actual[1][name], gradient, rtol=tolerance, atol=tolerance, msg=name)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_logits_and_gradients_are_those_of_transformers(folder, attention, padded, packed):
    model = opened(folder, attention)
    assert_same(fast(model, *batch(padded), packed), reference(model, *batch(padded)))


@pytest.mark.parametrize("padded", [False, True])
def test_they_are_the_same_as_a_gpu_computes_them(folder, monkeypatch, padded):
    for module in (encoder, packing):
        monkeypatch.setattr(module, "bound_by_launches", lambda device: True)
    model = opened(folder)
    assert_same(fast(model, *batch(padded), packed=False), reference(model, *batch(padded)))


@pytest.mark.parametrize("method", ["eager", "sdpa"])
def test_rows_of_the_vocabulary_that_a_packed_batch_does_not_use_have_no_gradient(folder, method):
    model = opened(folder, method)
    model.get_input_embeddings().sparse = True
    ids, mask = batch()
    family_of(model).head_logits(
        model, first_token_states(model, ids * mask + (1 - mask) * 399, mask)
    ).square().sum().backward()
    gradient = model.get_input_embeddings().weight.grad.coalesce()
    moved = gradient.indices()[0][gradient.values().abs().amax(dim=1) > 0]
    assert set(moved.tolist()) == set(ids[mask == 1].tolist())


@pytest.mark.parametrize(
    "method", [("full", None, False), ("last_layers", 1, False), ("last_layers", 0, True), ("head", None, False)]
)
def test_what_is_frozen_has_no_gradient(folder, method):
    model = opened(folder)
    freeze(model, *method)
    actual = fast(model, *batch())
    assert actual[1].keys() == {name for name, one in model.named_parameters() if one.requires_grad}
    assert_same(actual, reference(model, *batch()))


def test_under_autocast_it_is_as_near_to_fp32_as_transformers_is(folder):
    model = opened(folder)
    exact = fast(model, *batch())
    with torch.autocast("cpu", torch.bfloat16):
        states = first_token_states(model, *batch())
        assert states.dtype == torch.bfloat16
        actual = fast(model, *batch())
        theirs = reference(model, *batch())
    for name, gradient in exact[1].items():
        own, other = ((one[1][name] - gradient).norm() for one in (actual, theirs))
        assert actual[1][name].dtype == torch.float32
        assert own <= 2 * other + 0.02 * gradient.norm(), name


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_without_gradients_it_is_the_same(folder, context):
    model = opened(folder)
    with context():
        actual = family_of(model).head_logits(model, first_token_states(model, *batch()))
    torch.testing.assert_close(actual, fast(model, *batch())[0])


def test_dropout_is_drawn_in_training_alone_and_again_with_the_same_seed(folder):
    model = opened(folder, dropout=0.5)

    def states():
        torch.manual_seed(3)
        return first_token_states(model, *batch())

    drawn = states()
    torch.testing.assert_close(states(), drawn, rtol=0, atol=0)
    model.eval()
    still = states()
    assert not torch.allclose(still, drawn)
    torch.testing.assert_close(family_of(model).head_logits(model, still), model(*batch()).logits, rtol=1e-4, atol=1e-4)


def test_gradients_add_up_over_two_batches(folder):
    model = opened(folder)
    ids, mask = batch()
    expected = {name: 2 * gradient for name, gradient in reference(model, ids, mask)[1].items()}
    model.zero_grad()
    for _ in range(2):
        family_of(model).head_logits(model, first_token_states(model, ids, mask)).square().sum().backward()
    assert_same((torch.zeros(()), gradients(model)), (torch.zeros(()), expected))
