"""The contract of tasks. A new one adds its line to `TASKS`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from chirplet.config.schema import bind
from chirplet.data.base import Examples
from chirplet.data.batching.batches import Collate, Shard
from chirplet.data.batching.tokens import Tokens
from chirplet.metric.names import METRICS
from chirplet.task.base import UNLABELLED, Task, open_task
from places import CONF

LABELS = ("bad", "even", "good")


@dataclass(frozen=True)
class Case:
    """A task with labels as its data has them, and logits of a model that is sure of each."""

    name: str
    labels: np.ndarray
    confident: Callable[[np.ndarray], np.ndarray]

    @property
    def task(self) -> Task:
        return bind(OmegaConf.to_container(OmegaConf.load(CONF / "task" / f"{self.name}.yaml")))

    @property
    def targets(self) -> np.ndarray:
        return self.task.targets(texts(self.labels))


TASKS = (Case("single_label", np.array([2, 0, 1, 1, 0, 2]), lambda labels: 9.0 * np.eye(3, dtype=np.float32)[labels]),)
every_task = pytest.mark.parametrize("case", TASKS, ids=lambda case: case.name)
numbers = st.integers(0, 2**32 - 1)
weights = st.sampled_from([None, (1.0, 2.0, 5.0)])


def texts(labels: np.ndarray) -> Examples:
    return Examples([str(i) for i in range(len(labels))], ["x"] * len(labels), labels, [None] * len(labels))


def random_logits(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, len(LABELS)), scale=3).astype(np.float32)


def tensor(values: Any) -> torch.Tensor:
    return None if values is None else torch.as_tensor(values)


@every_task
def test_it_is_configured_by_its_file(case):
    assert sorted(path.stem for path in (CONF / "task").glob("*.yaml")) == sorted(one.name for one in TASKS)
    assert case.task.name == case.name


@every_task
def test_a_record_names_it(case):
    assert case.task.recorded()["name"] == case.name
    assert open_task(case.task.recorded()) == case.task


@pytest.mark.parametrize("recorded", [{}, {"name": 3}, {"name": "base"}, {"name": "os.path"}, {"name": "unheard_of"}])
def test_a_name_that_is_no_task_s_is_refused(recorded):
    with pytest.raises(ValueError, match="name: got "):
        open_task(recorded)


@every_task
def test_a_setting_that_it_does_not_have_is_refused(case):
    with pytest.raises(ValueError, match="colour"):
        open_task(case.task.recorded() | {"colour": "red"})


@every_task
def test_targets_have_their_dtype_and_shape(case):
    none = case.task.no_targets(len(LABELS))
    assert (len(none), none.dtype, none.shape[1:]) == (0, case.targets.dtype, case.targets.shape[1:])
    assert len(case.targets) == len(case.labels)


@every_task
def test_targets_from_a_file_are_checked(case):
    assert case.task.fault(case.targets, len(LABELS)) is None
    assert case.task.fault(case.targets + len(LABELS), len(LABELS)) is not None
    assert case.task.fault(case.targets - len(LABELS), len(LABELS)) is not None


@every_task
def test_it_knows_which_texts_have_a_label(case):
    labels = np.concatenate([case.labels[:2], np.full(3, UNLABELLED), case.labels[2:]])
    targets = torch.from_numpy(case.task.targets(texts(labels)))
    assert case.task.labeled(targets).tolist() == [True] * 2 + [False] * 3 + [True] * 4


@every_task
def test_a_model_that_is_sure_is_decoded_to_its_labels(case):
    logits = case.confident(case.labels)
    np.testing.assert_array_equal(case.task.decode(logits), case.targets)
    assert case.task.decode(logits).dtype == case.targets.dtype
    assert case.task.right(logits, case.targets).tolist() == [True] * len(case.targets)
    assert (case.task.confidence(logits) > 0.99).all()
    assert case.task.evaluate(logits, case.targets, LABELS)["accuracy"] == 1.0


@every_task
@given(numbers)
def test_probabilities_are_probabilities(case, seed):
    logits = random_logits(seed, 5)
    result = case.task.probabilities(logits)
    assert (result.shape, result.dtype) == (logits.shape, np.float64)
    assert ((result >= 0) & (result <= 1)).all()
    np.testing.assert_allclose(case.task.activate(torch.from_numpy(logits)).numpy(), result, atol=1e-6)
    confidence = case.task.confidence(logits)
    assert ((confidence > 0) & (confidence <= 1)).all()


@every_task
def test_logits_of_any_size_have_finite_probabilities_and_losses(case):
    logits = (1e4 * (case.confident(case.labels) - 4.5)).astype(np.float32)
    assert np.isfinite(case.task.probabilities(logits)).all()
    assert np.isfinite(case.task.losses(logits, case.targets[::-1])).all()


@every_task
def test_no_texts_have_no_predictions(case):
    logits = np.empty((0, len(LABELS)), np.float32)
    assert case.task.decode(logits).shape == case.task.no_targets(len(LABELS)).shape
    assert case.task.probabilities(logits).shape == (0, len(LABELS))
    assert case.task.right(logits, case.task.no_targets(len(LABELS))).shape == (0,)


@every_task
def test_windows_of_a_text_are_combined_label_by_label(case):
    logits = np.array([[1, 2, 6], [3, 0, 0], [5, 1, 3], [7, 7, 1]], np.float32)
    first = np.array([0, 1, 4])
    assert case.task.combine(logits, first, "mean").tolist() == [
        [1, 2, 6],
        [5, pytest.approx(8 / 3), pytest.approx(4 / 3)],
    ]
    assert case.task.combine(logits, first, "max").tolist() == [[1, 2, 6], [7, 7, 3]]


@every_task
@given(numbers)
def test_right_is_where_what_is_decoded_is_the_target(case, seed):
    task, logits = case.task, random_logits(seed, len(case.labels))
    right, decoded = task.right(logits, case.targets), task.decode(logits)
    assert right.tolist() == [np.array_equal(one, other) for one, other in zip(decoded, case.targets, strict=True)]
    assert task.evaluate(logits, case.targets, LABELS)["accuracy"] == pytest.approx(right.mean())


@every_task
@given(numbers, numbers)
def test_two_models_agree_where_they_decode_to_the_same(case, seed, other):
    first, second = random_logits(seed, 6), random_logits(other, 6)
    result = case.task.agree(first, second)
    assert result.tolist() == case.task.right(first, case.task.decode(second)).tolist()
    assert case.task.agree(first, first).all()


@every_task
@given(numbers, weights, st.sampled_from([0.0, 0.2]))
def test_the_loss_falls_when_logits_move_to_the_target(case, seed, class_weights, smoothing):
    targets = torch.from_numpy(case.targets)
    logits = torch.from_numpy(random_logits(seed, len(targets)) / 9).requires_grad_()
    start = case.task.loss(logits, targets, tensor(class_weights), smoothing)
    start.backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad.abs().sum() > 0
    moved = logits.detach() - 0.1 * logits.grad
    assert case.task.loss(moved, targets, tensor(class_weights), smoothing) < start
    nearer = logits.detach() + 0.1 * torch.from_numpy(case.confident(case.labels))
    assert case.task.loss(nearer, targets) < case.task.loss(logits, targets)


@every_task
@given(numbers)
def test_losses_are_those_of_each_text(case, seed):
    logits, targets = random_logits(seed, len(case.labels)), case.targets
    losses = case.task.losses(logits, targets)
    tensors = torch.from_numpy(logits), torch.from_numpy(targets)
    assert losses.shape == (len(targets),)
    assert losses.mean() == pytest.approx(case.task.loss(*tensors).item(), rel=1e-4)
    assert losses.sum() == pytest.approx(case.task.loss(*tensors, reduction="sum").item(), rel=1e-4)
    assert losses.mean() == pytest.approx(case.task.evaluate(logits, targets, LABELS)["loss"], rel=1e-4)


@every_task
@given(numbers, weights, st.integers(2, 8))
def test_the_mean_over_processes_is_the_loss_of_the_whole_batch(case, seed, class_weights, processes):
    labels = np.concatenate([case.labels, np.full(2, UNLABELLED)])
    targets = case.task.targets(texts(labels))
    offsets = np.arange(len(labels) + 1)
    collate = Collate(Tokens(offsets[1:].astype(np.int32), offsets), targets, 0)
    logits = torch.from_numpy(random_logits(seed, len(labels))).double().requires_grad_()
    class_weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float64)
    positions = np.random.default_rng(seed).permutation(len(labels)).tolist()

    def loss() -> torch.Tensor:
        batch = collate(positions)
        return case.task.batch_loss(logits[batch["position"]], batch, class_weights, 0.0)

    whole = loss()
    parts = []
    for rank in range(processes):
        collate.share = Shard(rank, processes)
        part = loss()
        # The mean over no labels is undefined; its share of a batch is nothing.
        parts.append(torch.nan_to_num(part))
    assert (sum(parts) / processes).item() == pytest.approx(whole.item(), rel=1e-5)


@every_task
def test_balanced_weights_favour_what_is_rare(case):
    often = np.concatenate([case.labels[:1]] * 8 + [case.labels])
    result = case.task.balanced_weights(case.task.targets(texts(often)), len(LABELS))
    assert (result.shape, result.dtype) == ((len(LABELS),), torch.float32)
    assert result.argmin() == case.labels[0]


@every_task
@given(numbers, numbers, st.sampled_from([1.0, 2.0, 8.0]))
def test_equal_logits_have_no_soft_loss_and_others_have(case, seed, other, temperature):
    student, teacher = (torch.from_numpy(random_logits(one, 4)) for one in (seed, other))
    assert case.task.soft_loss(student, student, temperature).item() == pytest.approx(0.0, abs=1e-5)
    assert case.task.soft_loss(student, teacher, temperature).item() >= -1e-5
    # A mean over texts: twice the same batch changes nothing.
    twice = case.task.soft_loss(student.repeat(2, 1), teacher.repeat(2, 1), temperature)
    assert twice.item() == pytest.approx(case.task.soft_loss(student, teacher, temperature).item(), rel=1e-4, abs=1e-5)


@every_task
@given(numbers)
def test_distances_from_itself_are_nothing_and_from_others_are_positive(case, seed):
    logits = torch.from_numpy(random_logits(seed, 6))
    assert case.task.distances(logits, logits) == pytest.approx({"divergence": 0.0, "expected_drop": 0.0}, abs=1e-6)
    far = case.task.distances(-logits, logits)
    assert far["divergence"] > 0
    assert far["expected_drop"] > 0


@every_task
def test_metrics_are_those_that_reports_read(case):
    result = case.task.evaluate(random_logits(0, len(case.labels)), case.targets, LABELS)
    assert all(isinstance(result[name], float) for name in METRICS)
    assert result["n"] == len(case.labels)
    assert list(result["per_class"]) == list(LABELS)
    assert all(set(scores) == {"f1", "precision", "recall", "support"} for scores in result["per_class"].values())
    confusion = case.task.confusion(random_logits(0, len(case.labels)), case.targets, len(LABELS))
    assert confusion.tolist() == result["confusion_matrix"]


@every_task
def test_metrics_of_nothing_are_refused(case):
    with pytest.raises(ValueError, match="do not fit"):
        case.task.evaluate(np.empty((0, len(LABELS)), np.float32), case.task.no_targets(len(LABELS)), LABELS)
    with pytest.raises(ValueError, match="do not fit"):
        case.task.evaluate(random_logits(0, 2), case.targets, LABELS)


@every_task
def test_tables_have_a_column_for_each_label(case):
    logits = case.confident(case.labels)
    columns = case.task.columns(LABELS, "my_")
    cells = case.task.cells(logits, LABELS)
    assert list(columns)[:4] == ["my_label", "my_probability_bad", "my_probability_even", "my_probability_good"]
    assert [{type(value) for value in column} for column in cells] == [{kind} for kind in columns.values()]
    assert cells[0] == case.task.names(case.targets, LABELS)
    np.testing.assert_allclose(np.transpose(cells[1:4]), case.task.probabilities(logits), atol=1e-8)


@every_task
def test_columns_that_would_fall_together_keep_their_spelling(case):
    for labels, result in {
        ("Extremely Negative", "Ärger!"): ["probability_extremely_negative", "probability_ärger"],
        ("a b", "A-B"): ["probability_a b", "probability_A-B"],
        ("+", "-"): ["probability_+", "probability_-"],
    }.items():
        assert list(case.task.columns(labels, ""))[1:3] == result
