"""Importance, and the smaller model, against what the large one computes without the rest."""

import pytest
import torch
from transformers import AutoConfig, PreTrainedTokenizerBase

from chirplet.model.loading.blueprint import Blueprint
from chirplet.model.structure.narrowing import narrowed
from chirplet.pruner.masking.importance import importances
from chirplet.pruner.structured import Structured
from chirplet.system.error import PruningError

IDS = torch.tensor([[2, 40, 50, 60, 70, 3], [2, 41, 51, 61, 71, 3]])


def logits(model) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=IDS).logits


def test_without_silent_neurons_and_heads_it_computes_the_same(model):
    every = [torch.arange(2)] * 2
    kept = [torch.tensor([0, 3, 4, 30]), torch.tensor([1, 2, 5, 63])]
    heads = [torch.tensor([1]), torch.tensor([0])]
    with torch.no_grad():
        for layer, neurons, head in zip(model.bert.encoder.layer, kept, heads, strict=True):
            silent = torch.ones(64, dtype=torch.bool)
            silent[neurons] = False
            layer.output.dense.weight[:, silent] = 0.0
            other = 1 - int(head)
            layer.attention.output.dense.weight[:, other * 16 : (other + 1) * 16] = 0.0
    expected = logits(model)
    smaller = narrowed(model, [0, 1], heads, kept)
    assert smaller.config.num_attention_heads == 1
    torch.testing.assert_close(logits(smaller), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logits(narrowed(model, [0, 1], every, kept)), expected, rtol=1e-4, atol=1e-4)


def test_a_layer_that_is_kept_is_the_one_that_was_there(model):
    smaller = narrowed(model, [1], [torch.arange(2)], [torch.arange(64)])
    for name, value in model.bert.encoder.layer[1].state_dict().items():
        assert torch.equal(value, smaller.bert.encoder.layer[0].state_dict()[name])


def test_importance_agrees_with_finite_differences(model, calibration):
    """|a · dL/da| is the derivative of the loss by a factor on the neuron's outgoing weights, at 1, text by text."""
    both = importances(model, calibration, ["heads", "neurons"])
    heads, neurons = both["heads"], both["neurons"]
    assert torch.equal(importances(model, calibration, ["neurons"])["neurons"], neurons)
    step = 1e-2
    assert heads.shape == (2, 2)
    assert neurons.shape == (2, 64)
    columns = {"neuron": (model.bert.encoder.layer[1].output.dense, slice(7, 8), neurons[1, 7])}
    columns["head"] = (model.bert.encoder.layer[1].attention.output.dense, slice(16, 32), heads[1, 1])
    for dense, column, actual in columns.values():
        before = dense.weight.detach().clone()
        losses = []
        for factor in (1 + step, 1 - step):
            with torch.no_grad():
                dense.weight.copy_(before)
                dense.weight[:, column] *= factor
                losses.append([_loss(model, calibration, i) for i in range(len(calibration.tokens))])
                dense.weight.copy_(before)
        changes = (torch.tensor(losses[0]) - torch.tensor(losses[1])).abs() / (2 * step)
        assert float(actual) == pytest.approx(float(changes.sum()), rel=0.05)


def _loss(model, calibration, i: int) -> float:
    ids = torch.tensor(calibration.tokens[i][None].astype("int64"))
    return float(model.double()(input_ids=ids, labels=torch.tensor([calibration.targets[i]])).loss)


def test_a_layer_without_importance_has_a_share_of_one(model, calibration):
    """Not NaN, which JSON does not have."""
    with torch.no_grad():
        model.bert.encoder.layer[0].output.dense.weight.zero_()
    facts = Structured(layers=None, intermediate_size=8, heads=None).prune(model, calibration).facts
    assert facts["importance_kept"]["0"] == 1.0
    assert 0 < facts["importance_kept"]["1"] < 1


def test_heads_that_do_not_divide_the_width_are_refused(model):
    config = model.config
    config.num_attention_heads = 4
    with pytest.raises(PruningError, match=r"pruner\.heads: got 3, should be one of 1, 2, 4, .* hidden size 32"):
        Structured(layers=None, intermediate_size=None, heads=3).kept(config)


REFUSED = {
    "mpnet heads": ({"heads": 1}, r"heads: got 1, but heads of a model of type 'mpnet' .* bias of each head; .*"),
    "modernbert heads": ({"heads": 1}, r"heads: got 1, but heads of a model of type 'modernbert' .* rotary .*"),
    "modernbert layers": ({"layers": [1]}, r"layers: got \[1\], should begin with 0, the only layer .*"),
    "albert neurons": ({"intermediate_size": 8}, r"intermediate_size: got 8, but neurons .* 'albert' .* same heads .*"),
    "albert layers": (
        {"layers": [0, 2]},
        r"layers: got \[0, 2\], should be a number of the lowest layers, .*share.*",
    ),
    "deberta-v2 heads": ({"heads": 1}, r"heads: got 1, but heads of a model of type 'deberta-v2' .*share_att_key.*"),
    "ernie neurons": ({"intermediate_size": 8}, r"intermediate_size: got 8, but neurons of a model of type 'ernie' .*"),
}


@pytest.mark.parametrize(("settings", "line"), REFUSED.values(), ids=REFUSED)
def test_what_a_family_cannot_lose_is_refused_by_its_config_alone(request, settings, line):
    kind = request.node.callspec.id.split()[0]
    config = AutoConfig.for_model(kind)
    with pytest.raises(PruningError, match=f"^pruner\\.{line}$") as error:
        Structured(**{"layers": None, "intermediate_size": None, "heads": None} | settings).kept(config)
    assert "\n" not in str(error.value)
    if "heads" in settings:
        assert str(error.value).endswith("should be null, reduce pruner.layers or pruner.intermediate_size instead")


def test_groups_of_shared_layers_go_together():
    config = AutoConfig.for_model("albert", num_hidden_layers=6, num_hidden_groups=3)
    pruner = Structured(layers=4, intermediate_size=None, heads=None)
    changed = pruner.check(Blueprint(config, PreTrainedTokenizerBase())).config
    assert (changed.num_hidden_layers, changed.num_hidden_groups) == (4, 2)
    assert config.num_hidden_layers == 6
    with pytest.raises(PruningError, match=r"pruner\.layers: got 3, should be a multiple of 2"):
        Structured(layers=3, intermediate_size=None, heads=None).kept(config)
