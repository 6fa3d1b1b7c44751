"""The shares of a batch give, averaged, the gradient of the whole batch, however uneven they are."""

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from chirplet.data.batching.batches import Collate, Shard
from chirplet.data.batching.tokens import Tokens
from chirplet.distiller.loss.losses import LogitImitation, RelationImitation, StateImitation
from chirplet.model.family import family_of
from chirplet.module.classifier import Classifier
from chirplet.module.distillation import TEACHER_LOGITS, Student
from chirplet.module.step.training_module import Optimization
from chirplet.task.single_label import SingleLabel

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
TASK = SingleLabel()
LENGTHS = [3, 9, 4, 4, 7]
LABELS = [0, 2, 1, 0, 2]


def model():
    torch.manual_seed(0)
    config = BertConfig(vocab_size=30, num_labels=3, attn_implementation="eager", **SIZES)
    return BertForSequenceClassification(config).double().eval()


def collate(labels) -> Collate:
    random = np.random.default_rng(0)
    offsets = np.concatenate([[0], np.cumsum(LENGTHS)])
    tokens = Tokens(random.integers(1, 30, offsets[-1]).astype(np.int32), offsets)
    return Collate(tokens, np.array(labels), 0, 4, {TEACHER_LOGITS: random.normal(size=(len(LENGTHS), 3))})


def classifier():
    arguments = (
        model(),
        TASK,
        ["a", "b", "c"],
        Optimization([], "constant", 0.0, 1),
        0.1,
        torch.tensor([1.0, 2.0, 5.0]),
    )
    return Classifier(*arguments, "transformers")


def packed():
    arguments = (model().float(), TASK, ["a", "b", "c"], Optimization([], "constant", 0.0, 1), 0.1, None)
    family_of(arguments[0]).word_embeddings(arguments[0]).sparse = True
    return Classifier(*arguments, "packed")


def student(alpha=0.3, **imitations):
    imitations = imitations or {
        "logits": LogitImitation(TASK, 2.0),
        "hidden": StateImitation([(1, 1), (2, 2)], 16, 16),
        "attention": RelationImitation(["qk", "vv"], 1, 1, 2),
    }
    torch.manual_seed(1)
    teacher = BertForSequenceClassification(BertConfig(vocab_size=30, num_labels=3, **SIZES)).double().eval()
    return Student(
        model(),
        TASK,
        ["a", "b", "c"],
        Optimization([], "constant", 0.0, 1),
        0.1,
        torch.tensor([1.0, 2.0, 5.0]),
        "transformers",
        alpha=alpha,
        imitations=imitations,
        weights=dict.fromkeys(imitations, 0.7),
        teacher=teacher,
    )


def learnt(module, batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The loss, and the gradient of each parameter that has one."""
    module.log = module.log_dict = lambda *_, **__: None
    module.zero_grad()
    loss = module.training_step(batch, 0)
    loss.backward()
    return loss.detach(), {
        name: parameter.grad.to_dense().clone()
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }


@pytest.mark.parametrize("processes", [2, 3, 7])
@pytest.mark.parametrize(
    ("made", "labels"),
    [(classifier, LABELS), (packed, LABELS), (student, LABELS), (student, [0, -100, 1, -100, -100])],
)
def test_the_average_over_the_shares_is_the_gradient_of_the_whole(made, labels, processes):
    module, collating = made(), collate(labels)
    positions = [4, 0, 3, 1, 2]
    loss, whole = learnt(module, collating(positions))
    parts, served = [], []
    for rank in range(processes):
        collating.shard = Shard(rank, processes)
        batch = collating(positions)
        served += batch["position"].tolist()[: int(batch["texts_of"][0])]
        parts.append(learnt(module, batch))
    assert sorted(served) == sorted(positions)
    torch.testing.assert_close(sum(part for part, _ in parts) / processes, loss, rtol=1e-5, atol=1e-6)
    for name, gradient in whole.items():
        mean = sum(found.get(name, torch.zeros_like(gradient)) for _, found in parts) / processes
        torch.testing.assert_close(mean, gradient, rtol=1e-4, atol=1e-6)


def test_a_batch_of_one_process_has_no_more_in_it_than_before():
    assert set(collate(LABELS)([0, 1])) == {"input_ids", "attention_mask", "position", "labels", TEACHER_LOGITS}
