"""Masks, worked out by hand and in general."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from chirplet.pruner.masking.masks import (
    Ramp,
    apply_masks,
    check_sparsity,
    global_magnitude_mask,
    lowest_of_rows,
    masked,
    prunable,
    sparsity_of,
    zeros_kept,
    zeros_of,
)
from chirplet.system.error import PruningError


def test_the_lowest_of_all_by_hand():
    scores = {"a": torch.tensor([[0.1, 0.9], [0.4, 0.3]]), "b": torch.tensor([0.2, 0.8])}
    masks = global_magnitude_mask(scores, 0.5)  # of six, three go: 0.1, 0.2, 0.3
    assert masks["a"].tolist() == [[False, True], [True, False]]
    assert masks["b"].tolist() == [False, True]


def test_the_lowest_of_each_row_by_hand():
    score = torch.tensor([[0.1, 0.9, 0.5, 0.2], [9.0, 8.0, 7.0, 6.0]])
    present = torch.ones_like(score, dtype=torch.bool)
    assert lowest_of_rows(score, present, 0.5).tolist() == [[False, True, True, False], [True, True, False, False]]
    present[0, :2] = False  # of the two left one goes
    assert lowest_of_rows(score, present, 0.5).tolist() == [[False, False, True, False], [True, True, False, False]]


def test_of_equal_scores_the_last_go_and_no_more_than_asked():
    assert global_magnitude_mask({"a": torch.zeros(4)}, 0.5)["a"].tolist() == [True, True, False, False]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.floats(0, 0.99))
def test_the_sparsity_is_exact_and_no_removed_score_is_above_a_kept_one(values, sparsity):
    scores = {
        "a": torch.tensor(values[: len(values) // 2]).float(),
        "b": torch.tensor(values[len(values) // 2 :]).float(),
    }
    masks = global_magnitude_mask(scores, sparsity)
    score, kept = torch.cat(list(scores.values())), torch.cat(list(masks.values()))
    assert int((~kept).sum()) == round(sparsity * len(values))
    if kept.any() and not kept.all():
        assert score[kept].min() >= score[~kept].max()


def test_the_ramp_by_hand():
    """Equation 1 of Zhu & Gupta from 0 to 0.8: after half of the steps 0.8 - 0.8 / 8 = 0.7."""
    ramp = Ramp(initial=0.0, final=0.8, steps=10, every=4)
    assert [ramp.sparsity(step) for step in (0, 5, 10, 99)] == pytest.approx([0.0, 0.7, 0.8, 0.8])
    assert [step for step in range(15) if ramp.is_due(step)] == [0, 4, 8, 10]
    assert Ramp(0.0, 0.8, 0, 4).sparsity(0) == 0.8
    assert Ramp(0.0, 0.8, 0, 4).is_due(0)


@given(st.floats(0, 0.5), st.floats(0.5, 0.99), st.integers(1, 50))
def test_the_ramp_only_rises(initial, final, steps):
    values = [Ramp(initial, final, steps, 1).sparsity(step) for step in range(steps + 1)]
    assert values == sorted(values)
    assert values[0] == pytest.approx(initial)
    assert values[-1] == final


def test_scopes(model):
    layers, width = 2, 6
    names = {scope: set(prunable(model, scope)) for scope in ("body", "linear", "all")}
    assert len(names["body"]) == layers * width
    assert names["linear"] - names["body"] == {"bert.pooler.dense.weight", "classifier.weight"}
    rest = names["all"] - names["linear"]
    assert all("embeddings" in name or "LayerNorm" in name for name in rest)
    assert "bert.embeddings.word_embeddings.weight" in rest


def test_masked_is_undone_even_where_the_block_fails(model):
    before = {name: weight.detach().clone() for name, weight in prunable(model, "body").items()}
    masks = global_magnitude_mask({name: weight.abs() for name, weight in before.items()}, 0.5)
    with pytest.raises(RuntimeError), masked(model, masks):
        assert sparsity_of(prunable(model, "body")) == pytest.approx(0.5, abs=1e-3)
        raise RuntimeError
    assert all(torch.equal(before[name], weight) for name, weight in prunable(model, "body").items())
    assert zeros_of(model) == {}


def test_what_is_masked_is_zero_though_it_was_not_finite():
    weights = {"a": torch.tensor([float("nan"), float("inf"), 1.0])}
    apply_masks(weights, {"a": torch.tensor([False, False, True])})
    assert weights["a"].tolist() == [0.0, 0.0, 1.0]


def test_less_sparse_than_it_is_is_refused():
    check_sparsity({"a": torch.tensor([0.0, 1.0])}, 0.5)
    with pytest.raises(PruningError, match=r"got 0\.25, should be at least 0\.5, the share"):
        check_sparsity({"a": torch.tensor([0.0, 1.0])}, 0.25)


def test_zeros_of_an_earlier_pruning_stay_while_everything_else_learns(model):
    weights = prunable(model, "body")
    apply_masks(weights, global_magnitude_mask({name: weight.abs() for name, weight in weights.items()}, 0.5))
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with zeros_kept(model):
        for _ in range(3):
            optimizer.zero_grad()
            torch.stack([weight.add(1).square().sum() for weight in weights.values()]).sum().backward()
            optimizer.step()
    for name, weight in weights.items():
        assert torch.equal(weight == 0, before[name] == 0)
        assert not bool((weight == before[name])[before[name] != 0].any())
    sum(weight.sum() for weight in weights.values()).backward()
    assert all(bool((weight.grad != 0).all()) for weight in weights.values())  # nothing is held any more
