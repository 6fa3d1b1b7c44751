"""The losses of a student, by hand and by their gradients."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from chirplet.distiller.loss.losses import Imitation, LogitImitation
from chirplet.module.distillation import TEACHER_LOGITS, Student, blend
from chirplet.module.step.training_module import Optimization
from chirplet.task.single_label import SingleLabel

LN2, TASK = math.log(2), SingleLabel()


def test_blend_by_hand():
    """Even logits of two classes cost ln 2 a label."""
    logits, soft = torch.zeros(2, 2), torch.tensor(3.0)
    loss = blend(TASK, logits, {"labels": torch.tensor([0, 1])}, soft, 0.25, None, 0.0)
    assert loss.item() == pytest.approx(0.25 * LN2 + 0.75 * 3)


@given(st.integers(0, 8), st.integers(0, 8))
def test_a_text_without_label_adds_nothing_to_the_labels_loss(labeled, unlabelled):
    count = labeled + unlabelled
    if count == 0:
        return
    labels = torch.tensor([1] * labeled + [-100] * unlabelled)
    loss = blend(TASK, torch.zeros(count, 2), {"labels": labels}, torch.tensor(0.0), 1.0, None, 0.0)
    assert loss.item() == pytest.approx(LN2 * labeled / count)


def test_the_loss_of_a_student_by_its_parts(student_batch):
    model, batch = student_batch
    weights = torch.tensor([1.0, 2.0, 3.0])
    student = Student(
        model,
        TASK,
        ["a", "b", "c"],
        Optimization([], "constant", 0.0, 1),
        0.1,
        weights,
        "transformers",
        alpha=0.3,
        imitations={"logits": LogitImitation(TASK, 2.0)},
        weights={"logits": 1.0},
        teacher=None,
    )
    student.log_dict = lambda *_, **__: None
    logits = student(batch)
    hard = torch.nn.functional.cross_entropy(logits, batch["labels"], weight=weights, label_smoothing=0.1)
    soft = TASK.soft_loss(logits, batch[TEACHER_LOGITS], 2.0)
    # Three of the four texts have a label.
    torch.testing.assert_close(student.training_step(batch, 0), 0.3 * 0.75 * hard + 0.7 * soft)


def test_weights_multiply_what_they_are_of(student_batch):
    model, batch = student_batch
    arguments = (model, TASK, ["a", "b", "c"], Optimization([], "constant", 0.0, 1), 0.0, None, True)
    actual = {}
    for name, weights in {"one": (1.0, 0.0), "other": (0.0, 1.0), "both": (2.0, 0.5)}.items():
        imitations = {"kl": LogitImitation(TASK, 2.0), "mse": LogitImitation(TASK, None)}
        weighted = dict(zip(imitations, weights, strict=True))
        module = Student(*arguments, alpha=0.0, imitations=imitations, weights=weighted, teacher=None)
        module.log_dict = lambda *_, **__: None
        actual[name] = module.training_step(batch, 0).item()
    assert actual["both"] == pytest.approx(2 * actual["one"] + 0.5 * actual["other"], rel=1e-5)


def test_under_autocast_what_is_imitated_is_compared_in_fp32(student_batch):
    """Relations are products, which autocast would round."""
    model, batch = student_batch
    actual = {}

    class Product(Imitation):
        def forward(self, student, teacher, mask):
            actual["product"] = student.logits @ teacher.logits.T
            return actual["product"].sum()

    arguments = (model, TASK, ["a", "b", "c"], Optimization([], "constant", 0.0, 1), 0.0, None, "transformers")
    module = Student(*arguments, alpha=0.0, imitations={"own": Product()}, weights={"own": 1.0}, teacher=None)
    module.log_dict = lambda *_, **__: None
    with torch.autocast("cpu", torch.bfloat16):
        module.training_step(batch, 0)
    assert actual["product"].dtype == torch.float32


def test_a_teacher_is_neither_trained_nor_saved(student_batch):
    model, _ = student_batch
    module = Student(
        model,
        TASK,
        ["a", "b", "c"],
        Optimization([], "constant", 0.0, 1),
        0.0,
        None,
        True,
        alpha=0.0,
        imitations={"logits": LogitImitation(TASK, 2.0)},
        weights={"logits": 1.0},
        teacher=model,
    )
    assert all(name.startswith("model.") for name in module.state_dict())
    assert len(list(module.parameters())) == len(list(model.parameters()))


@pytest.fixture
def student_batch():
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = BertForSequenceClassification(BertConfig(vocab_size=30, num_labels=3, **sizes)).eval()
    batch = {
        "input_ids": torch.randint(1, 30, (4, 6)),
        "attention_mask": torch.ones(4, 6, dtype=torch.long),
        "labels": torch.tensor([0, 2, -100, 1]),
        TEACHER_LOGITS: torch.randn(4, 3),
    }
    return model, batch
