"""Single labels, by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from chirplet.task.single_label import SingleLabel

TASK = SingleLabel()
LN2, LN3 = math.log(2), math.log(3)


def test_logits_are_decoded_to_the_highest_and_to_the_first_of_two():
    logits = np.array([[0.0, 2.0, 1.0], [1.0, 1.0, 0.0], [-3.0, -2.0, -1.0]], np.float32)
    assert TASK.decode(logits).tolist() == [1, 0, 2]
    assert TASK.names(TASK.decode(logits), ["a", "b", "c"]) == ["b", "a", "c"]
    assert TASK.right(logits, np.array([1, 1, 2])).tolist() == [True, False, True]


def test_probabilities_and_losses():
    """The odds are 3 : 1, then 1 : 1."""
    logits = np.array([[LN3, 0.0], [5.0, 5.0]], np.float32)
    np.testing.assert_allclose(TASK.probabilities(logits), [[0.75, 0.25], [0.5, 0.5]], atol=1e-7)
    np.testing.assert_allclose(TASK.confidence(logits), [0.75, 0.5], atol=1e-7)
    np.testing.assert_allclose(TASK.losses(logits, np.array([1, 0])), [math.log(4), LN2], atol=1e-7)


def test_confusions():
    """Rows are true, columns predicted."""
    logits = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    assert TASK.confusion(logits, np.array([0, 1, 1]), 2).tolist() == [[1, 0], [1, 1]]


def test_the_loss_with_class_weights():
    """Losses are log 4 and log 4/3 with weights 1 and 3; the mean divides by 4."""
    logits, targets = torch.tensor([[LN3, 0.0], [LN3, 0.0]]), torch.tensor([1, 0])
    result = TASK.loss(logits, targets, torch.tensor([3.0, 1.0]))
    assert result.item() == pytest.approx((math.log(4) + 3 * math.log(4 / 3)) / 4, rel=1e-5)
    assert TASK.loss_weight(targets, torch.tensor([3.0, 1.0])).item() == 4.0
    assert TASK.loss_weight(targets, None).item() == 2.0


def test_the_loss_with_label_smoothing():
    """With 0.2 the target (1, 0) is (0.9, 0.1)."""
    result = TASK.loss(torch.tensor([[LN3, 0.0]]), torch.tensor([0]), label_smoothing=0.2)
    assert result.item() == pytest.approx(-0.9 * math.log(0.75) - 0.1 * math.log(0.25), rel=1e-5)


@given(st.integers(0, 2**32 - 1), st.sampled_from([None, (0.5, 2.0, 7.0)]), st.floats(0, 0.9))
def test_the_loss_is_that_of_torch(seed, class_weights, smoothing):
    random = torch.Generator().manual_seed(seed)
    logits, targets = torch.randn(6, 3, generator=random), torch.randint(3, (6,), generator=random)
    targets[0] = -100
    class_weights = None if class_weights is None else torch.tensor(class_weights)
    expected = torch.nn.CrossEntropyLoss(class_weights, label_smoothing=smoothing)(logits, targets)
    assert torch.equal(TASK.loss(logits, targets, class_weights, smoothing), expected)


def test_a_part_of_a_batch_counts_by_the_weights_of_its_labels():
    """This process has one text, of weight 2; the whole batch has weight 2 + 1 + 1 and two processes."""
    batch = {
        "labels": torch.tensor([1]),
        "texts_of": torch.tensor([1, 4]),
        "whole_labels": torch.tensor([1, 0, -100, 0]),
        "processes": torch.tensor(2),
    }
    result = TASK.batch_loss(torch.zeros(1, 2), batch, torch.tensor([1.0, 2.0]), 0.0)
    assert result.item() == pytest.approx(LN2 * 2 * 2 / 4)
    assert TASK.batch_loss(torch.zeros(1, 2), batch, None, 0.0).item() == pytest.approx(LN2 * 2 * 1 / 3)


def test_balanced_weights():
    """Six texts of three labels with 3, 2 and 1: 6 / (3 * count)."""
    assert TASK.balanced_weights(np.array([0, 0, 0, 1, 1, 2]), 3).tolist() == pytest.approx([2 / 3, 1.0, 2.0])


def test_a_label_without_texts_weighs_nothing():
    assert TASK.balanced_weights(np.array([0, 0, 2]), 3).tolist() == pytest.approx([0.5, 0.0, 1.0])


def test_the_soft_loss():
    """At T = 2 the teacher's logits (4 ln 3, 0) are the odds 9 : 1, and the student's (2 ln 3, 0) are 3 : 1."""
    loss = TASK.soft_loss(torch.tensor([[2 * LN3, 0.0]]), torch.tensor([[4 * LN3, 0.0]]), 2.0)
    divergence = 0.9 * math.log(0.9 / 0.75) + 0.1 * math.log(0.1 / 0.25)
    assert loss.item() == pytest.approx(4 * divergence, rel=1e-5)


def test_the_soft_loss_is_a_mean_over_texts():
    student, teacher = torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    both, first = TASK.soft_loss(student, teacher, 1.0), TASK.soft_loss(student[:1], teacher[:1], 1.0)
    assert both.item() == pytest.approx(first.item() / 2)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 8.0, 32.0])
def test_the_gradient_keeps_its_scale_whatever_the_temperature(temperature):
    """For high T it is (z - v) / N for logits that sum to 0 (Hinton et al. 2015, Eq. 4), N labels."""
    student, teacher = torch.tensor([[0.3, -0.1, -0.2]], requires_grad=True), torch.tensor([[-0.2, 0.1, 0.1]])
    TASK.soft_loss(student, teacher, temperature).backward()
    torch.testing.assert_close(student.grad, (student.detach() - teacher) / 3, rtol=0.3, atol=0.01)


def test_distances():
    """fp32 is sure by 3 : 1 of the first label, the other model gives the second by 3 : 1."""
    result = TASK.distances(torch.tensor([[0.0, LN3]]), torch.tensor([[LN3, 0.0]]))
    assert result["expected_drop"] == pytest.approx(0.5)
    assert result["divergence"] == pytest.approx(0.75 * LN3 - 0.25 * LN3, rel=1e-5)
