"""Masks under training, and scores that are learnt."""

import pytest
import torch

from artifacts import tiny_artifact
from checkpoints import tiny_bert
from chirplet.model.structure.parameter_groups import parameter_groups
from chirplet.module.distillation import TEACHER_LOGITS
from chirplet.module.pruning import Recovery
from chirplet.module.step.training_module import Optimization
from chirplet.pruner.masking.masks import Ramp, global_magnitude_mask, prunable, sparsity_of
from chirplet.pruner.masking.schedule import Masking, Moving, Rising, ScoredWeight
from chirplet.runtime.pytorch import load_model
from chirplet.task.single_label import SingleLabel


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    base = tmp_path_factory.mktemp("recovery")
    return tiny_artifact(tiny_bert(base / "base"), base / "classifier")


@pytest.fixture
def model(folder):
    return load_model(folder)


@pytest.fixture
def batch():
    ids = torch.tensor([[2, 40, 50, 3], [2, 41, 51, 3]])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.tensor([0, 2])}


def recovery(model, masking, alpha=1.0) -> Recovery:
    optimization = Optimization(parameter_groups(model, 1e-3, 0.01, 1.0, None), "constant", 0.0, 10)
    return Recovery(
        model,
        SingleLabel(),
        ("a", "b", "c"),
        optimization,
        0.0,
        None,
        True,
        alpha=alpha,
        temperature=2.0,
        masking=masking,
    )


def test_a_scored_weight_by_hand():
    """L = sum(3 W'), W = (2, -5), mask (1, 0): dL/dW = (3, 0), dL/dS = 3 W = (6, -15)."""
    weight = torch.tensor([2.0, -5.0], requires_grad=True)
    scored = ScoredWeight(torch.tensor([True, True]))
    scored.mask.copy_(torch.tensor([True, False]))
    kept = scored(weight)
    assert kept.tolist() == [2.0, 0.0]
    (3 * kept).sum().backward()
    assert weight.grad.tolist() == [3.0, 0.0]
    assert scored.scores.grad.tolist() == [6.0, -15.0]


def test_the_loss_is_the_labels_alone_where_there_is_no_teacher(model, batch):
    module = recovery(model, Masking(model, {}), alpha=0.25).eval()
    module.log = module.log_dict = lambda *_, **__: None
    logits = module(batch)
    hard = torch.nn.functional.cross_entropy(logits, batch["labels"])
    torch.testing.assert_close(module.training_step(batch, 0), hard)
    # A teacher of one mind has nothing to add.
    loss = module.training_step(batch | {TEACHER_LOGITS: logits.detach()}, 0)
    torch.testing.assert_close(loss, 0.25 * hard)
    other = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    loss = module.training_step(batch | {TEACHER_LOGITS: other}, 0)
    torch.testing.assert_close(loss, 0.25 * hard + 0.75 * SingleLabel().soft_loss(logits, other, 2.0))


def test_masks_are_saved_with_a_checkpoint(model, folder):
    masks = global_magnitude_mask(
        {name: weight.detach().abs() for name, weight in prunable(model, "body").items()}, 0.5
    )
    state = recovery(model, Masking(model, masks)).state_dict()
    other = load_model(folder)
    fresh = Masking(other, {name: torch.ones_like(mask) for name, mask in masks.items()})
    recovery(other, fresh).load_state_dict(state)
    assert all(torch.equal(mask, masks[name]) for name, mask in fresh.masks().items())


def test_rising_masks_are_renewed_when_due_and_once_a_step(model):
    asked = []

    def remask(sparsity):
        asked.append(sparsity)
        return global_magnitude_mask({name: weight.detach().abs() for name, weight in weights.items()}, sparsity)

    weights = prunable(model, "body")
    whole = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}
    rising = Rising(model, whole, remask, Ramp(0.0, 0.8, steps=4, every=2))
    for step in (0, 0, 1, 2, 3, 4, 5):
        rising.before_step(step)
    assert asked == pytest.approx([0.0, 0.7, 0.8])
    assert sparsity_of(weights) == pytest.approx(0.8, abs=1e-3)


def test_movement_drops_what_shrinks_and_lets_it_come_back(model):
    names = ["bert.encoder.layer.0.output.dense.weight"]
    weight = model.get_parameter(names[0])
    masks = {names[0]: torch.ones_like(weight, dtype=torch.bool)}
    groups = parameter_groups(model, 1e-3, 0.0, 1.0, None)
    moving = Moving(model, masks, 1e-2, Ramp(0.0, 0.5, steps=1, every=1))
    dense = model.bert.encoder.layer[0].output.dense
    # The optimizer's groups, made before, still hold the weight that training moves.
    assert any(dense.parametrizations.weight.original is one for group in groups for one in group["params"])
    (group,) = moving.groups()
    (scores,) = group["params"]
    before = weight.detach().clone()
    with torch.no_grad():
        scores[:, :32] = 1.0
    moving.before_step(1)
    assert not dense.weight[:, 32:].any()
    with torch.no_grad():
        scores[:, 32:] = 2.0
    moving.before_step(1)
    assert torch.equal(dense.weight[:, 32:], before[:, 32:])
    moving.finish()
    assert torch.equal(model.get_parameter(names[0]) != 0, (before != 0) & (torch.arange(64) >= 32))
