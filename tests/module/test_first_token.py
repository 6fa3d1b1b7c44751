"""Leaving out what the head does not read changes nothing that it reads."""

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from checkpoints import tiny_bert, tiny_roberta
from chirplet.module.first_token import first_token_only

BUILDERS = {"bert": tiny_bert, "roberta": tiny_roberta}


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("kind", BUILDERS)
def test_logits_and_gradients_are_the_same(kind, attention, tmp_path):
    model = AutoModelForSequenceClassification.from_pretrained(
        BUILDERS[kind](tmp_path),
        num_labels=3,
        attn_implementation=attention,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    ).train()
    torch.manual_seed(0)
    model.classifier.apply(lambda module: module.reset_parameters() if hasattr(module, "reset_parameters") else None)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    ids = torch.randint(5, 100, (3, 12))
    mask = torch.ones_like(ids)
    mask[1, 7:] = 0

    def run() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        model.zero_grad()
        logits = model(input_ids=ids, attention_mask=mask).logits
        logits.square().sum().backward()
        return logits.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

    logits, gradients = run()
    with first_token_only(model):
        short_logits, short_gradients = run()
        states = model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state
    assert states.shape[1] == 1
    torch.testing.assert_close(short_logits, logits, rtol=1e-4, atol=1e-6)
    assert gradients.keys() == short_gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(short_gradients[name], gradient, rtol=1e-3, atol=1e-6, msg=name)


def test_the_model_is_itself_again_afterwards(tmp_path):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert(tmp_path)).eval()
    with pytest.raises(KeyError), first_token_only(model):
        raise KeyError
    assert model.base_model(input_ids=torch.tensor([[2, 5, 3]])).last_hidden_state.shape[1] == 3
