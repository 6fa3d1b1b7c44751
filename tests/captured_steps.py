"""Small trainings with and without captured steps."""

from contextlib import suppress
from functools import partial

import numpy as np
import pytorch_lightning as pl
import torch
from transformers import BertConfig, BertForSequenceClassification

from chirplet.callback.lightning.interruption import RandomState
from chirplet.config.schema import bind
from chirplet.data.batching.batches import evaluation_loader, training_loader
from chirplet.data.batching.tokens import Tokens
from chirplet.distiller.loss.losses import LogitImitation, RelationImitation, StateImitation
from chirplet.model.structure.freezing import freeze
from chirplet.model.structure.parameter_groups import parameter_groups
from chirplet.module.classifier import Classifier
from chirplet.module.distillation import TEACHER_LOGITS, Student
from chirplet.module.pruning import Recovery
from chirplet.module.step.training_module import Optimization
from chirplet.pruner.masking.masks import Ramp, global_magnitude_mask, prunable
from chirplet.pruner.masking.schedule import Moving, Rising
from chirplet.task.single_label import SingleLabel
from chirplet.trainer import TrainerSettings

TASK, LABELS, TEXTS = SingleLabel(), ("a", "b", "c"), 22
SIZES = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "hidden_dropout_prob": 0.1}


def bert(width=16) -> BertForSequenceClassification:
    torch.manual_seed(0)
    config = BertConfig(vocab_size=30, hidden_size=width, num_labels=3, attn_implementation="eager", **SIZES)
    return BertForSequenceClassification(config).train()


def optimization(model, layer_decay=1.0) -> Optimization:
    return Optimization(parameter_groups(model, 1e-2, 0.1, layer_decay, None), "linear", 0.2, 12)


def classifier(method="full", layers=None, layer_decay=1.0, smoothing=0.0, weights=None) -> Classifier:
    model = bert()
    freeze(model, method, layers, True)
    return Classifier(model, TASK, LABELS, optimization(model, layer_decay), smoothing, weights, "padded")


def student(teacher_width=None, alpha=0.3, **imitations) -> Student:
    model = bert()
    imitations = imitations or {"logits": LogitImitation(TASK, 2.0)}
    chosen = optimization(model)
    projections = [p for imitation in imitations.values() for p in imitation.parameters()]
    if projections:
        chosen.groups.append({"params": projections, "lr": 1e-3, "weight_decay": 0.0})
    teacher = None if teacher_width is None else bert(teacher_width).eval()
    weights = dict.fromkeys(imitations, 1.0)
    arguments = (model, TASK, LABELS, chosen, 0.1, torch.tensor([1.0, 2.0, 5.0]), "padded")
    return Student(*arguments, alpha=alpha, imitations=imitations, weights=weights, teacher=teacher)


def inside(width) -> Student:
    torch.manual_seed(1)
    states, relations = StateImitation([(1, 1), (2, 2)], 16, width), RelationImitation(["qk", "vv"], 1, 1, 2)
    return student(width, logits=LogitImitation(TASK, 2.0), hidden=states, attention=relations)


def recovery(moving: bool) -> Recovery:
    model = bert()
    weights = prunable(model, "body")
    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}
    ramp = Ramp(0.0, 0.5, 8, 2)
    chosen = optimization(model)
    if moving:
        masking = Moving(model, masks, 0.1, ramp)
    else:
        masking = Rising(model, masks, partial(global_magnitude_mask, weights), ramp)
    chosen.groups.extend(masking.groups())
    return Recovery(model, TASK, LABELS, chosen, 0.0, None, "padded", alpha=0.5, temperature=1.0, masking=masking)


MODULES = {
    "full": classifier,
    "last layers": partial(classifier, "last_layers", 1),
    "head": partial(classifier, "head"),
    "layer decay": partial(classifier, layer_decay=0.5, smoothing=0.1, weights=torch.tensor([1.0, 2.0, 5.0])),
    "distillation": student,
    "teacher alone": partial(student, alpha=0.0),
    "inside": partial(inside, 16),
    "projected": partial(inside, 24),
    "rising": partial(recovery, False),
    "moving": partial(recovery, True),
}


def trainer_settings(compose_config, *overrides: str) -> TrainerSettings:
    common = ["accelerator=cpu", "precision=32-true", "max_epochs=2", "cuda_graphs=true", "log_every_n_steps=3"]
    config = compose_config(*(f"trainer.{override}" for override in (*common, *overrides))).trainer
    return bind(config)


def loaders():
    random = np.random.default_rng(0)
    offsets = np.concatenate([[0], np.cumsum(random.integers(3, 20, TEXTS))])
    tokens = Tokens(random.integers(1, 30, offsets[-1]).astype(np.int32), offsets)
    labels = random.integers(0, 3, TEXTS)
    labels[:6] = -100
    teacher = {TEACHER_LOGITS: random.normal(size=(TEXTS, 3)).astype(np.float32)}
    train = training_loader(tokens, labels, 0, 4, 1, 2, 8, teacher)
    return train, evaluation_loader(tokens, abs(labels) % 3, 0, 8, 8)


def fitted(settings, module, folder, captured: bool, callbacks=(), checkpoint=None) -> pl.Trainer:
    module.captures = captured
    train, val = loaders()
    torch.manual_seed(3)
    trainer = settings.build(callbacks, [], True, folder, len(train))
    trainer.fit(module, train, val, ckpt_path=checkpoint, weights_only=True)
    return trainer


def assert_same(one, other):
    for (name, expected), actual in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        if name.endswith("key.bias"):  # softmax does not depend on it; AdamW scales its gradient, which is rounding
            continue
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-6, msg=lambda text, of=name: f"{of}: {text}")


class Leave(pl.Callback):
    """Saves after a step in the midst of the second epoch, and ends the training."""

    def __init__(self, path) -> None:
        self.path = path

    def on_train_batch_end(self, trainer, *_) -> None:
        if trainer.global_step == 8:
            trainer.save_checkpoint(self.path)
            raise StopIteration


def resumes_to_the_bit(settings, tmp_path) -> None:
    whole, resumed = classifier(), classifier()
    fitted(settings, whole, tmp_path, True, [RandomState()])
    with suppress(StopIteration):
        fitted(settings, classifier(), tmp_path, True, [RandomState(), Leave(tmp_path / "left.ckpt")])
    fitted(settings, resumed, tmp_path, True, [RandomState()], tmp_path / "left.ckpt")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
