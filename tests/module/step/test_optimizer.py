"""The row-wise optimizer is AdamW for rows that every batch uses, and leaves the others alone."""

import pytest
import torch
from torch.nn.functional import embedding
from torch.nn.utils import clip_grad_norm_

from chirplet.module.step.optimizer import RowwiseAdamW, clip_gradients

SETTINGS = {"lr": 0.1, "weight_decay": 0.2, "betas": (0.8, 0.9), "eps": 1e-6}


def trained(optimizer_class, sparse, batches, fused):
    torch.manual_seed(0)
    table, other = torch.nn.Parameter(torch.randn(6, 4)), torch.nn.Parameter(torch.randn(4, 2))
    optimizer = optimizer_class([{"params": [table]}, {"params": [other], "lr": 0.05}], **SETTINGS, fused=fused)
    for ids in batches:
        optimizer.zero_grad()
        (embedding(torch.tensor(ids), table, sparse=sparse) @ other).square().sum().backward()
        optimizer.step()
    return table.detach(), other.detach(), optimizer


@pytest.mark.parametrize("fused", [False, True])
def test_rows_of_every_batch_move_as_with_adamw(fused):
    batches = [[0, 1, 2, 2, 3, 4, 5]] * 3
    actual = trained(RowwiseAdamW, True, batches, fused)
    expected = trained(torch.optim.AdamW, False, batches, fused)
    torch.testing.assert_close(actual[:2], expected[:2])


def test_other_rows_stay_to_the_bit():
    torch.manual_seed(0)
    start = torch.randn(6, 4)
    table, _, optimizer = trained(RowwiseAdamW, True, [[1, 3], [3]], True)
    untouched = [0, 2, 4, 5]
    assert torch.equal(table[untouched], start[untouched])
    assert not torch.isclose(table[[1, 3]], start[[1, 3]]).any()
    assert not optimizer.state[optimizer.param_groups[0]["params"][0]]["exp_avg"][untouched].any()


def test_the_moments_of_a_row_wait_while_it_is_not_used():
    _, _, optimizer = trained(RowwiseAdamW, True, [[1], [2]], True)
    _, _, first = trained(RowwiseAdamW, True, [[1]], True)
    moments = [one.state[one.param_groups[0]["params"][0]] for one in (optimizer, first)]
    assert torch.equal(moments[0]["exp_avg"][1], moments[1]["exp_avg"][1])
    assert [float(one["step"]) for one in moments] == [2.0, 1.0]


def test_a_saved_state_resumes_with_the_same_result():
    batches = [[0, 1], [1, 2], [0, 2]]
    whole = trained(RowwiseAdamW, True, batches, True)
    table, other, optimizer = trained(RowwiseAdamW, True, batches[:2], True)
    saved = optimizer.state_dict()
    table, other = torch.nn.Parameter(table), torch.nn.Parameter(other)
    resumed = RowwiseAdamW([{"params": [table]}, {"params": [other]}], fused=True)
    resumed.load_state_dict(saved)
    (embedding(torch.tensor(batches[2]), table, sparse=True) @ other).square().sum().backward()
    resumed.step()
    assert torch.equal(table.detach(), whole[0])
    assert torch.equal(other.detach(), whole[1])


def test_a_closure_gives_the_gradients_and_the_loss():
    table = torch.nn.Parameter(torch.ones(3, 2))
    optimizer = RowwiseAdamW([table], lr=0.1)

    def closure():
        loss = embedding(torch.tensor([1]), table, sparse=True).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 2.0
    assert table[1, 0] < 1.0 == table[0, 0].item()


@pytest.mark.parametrize("max_norm", [0.5, 1e6])
def test_clipping_counts_sparse_gradients_as_if_they_were_dense(max_norm):
    actual = []
    for sparse in (True, False):
        torch.manual_seed(0)
        table, other = torch.nn.Parameter(torch.randn(6, 4)), torch.nn.Parameter(torch.randn(4, 2))
        (embedding(torch.tensor([2, 2, 4]), table, sparse=sparse) @ other).square().sum().backward()
        clip = clip_gradients if sparse else clip_grad_norm_
        norm = clip([table, other], max_norm)
        actual.append((norm, table.grad.to_dense(), other.grad))
    torch.testing.assert_close(*actual)
