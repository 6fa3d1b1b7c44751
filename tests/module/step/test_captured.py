"""A captured step trains as Lightning's hooks do. On a CPU each replay calls what a GPU would have recorded."""

from contextlib import suppress
from functools import partial

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from transformers import BertConfig, BertForSequenceClassification

from chirplet.callback.lightning.weight_averaging import EmaWeights
from chirplet.config.schema import bind
from chirplet.data.batching.batches import evaluation_loader, training_loader
from chirplet.data.batching.tokens import Tokens
from chirplet.distiller.loss.losses import LogitImitation, RelationImitation, StateImitation
from chirplet.model.structure.freezing import freeze
from chirplet.model.structure.parameter_groups import parameter_groups
from chirplet.module.classifier import Classifier
from chirplet.module.distillation import TEACHER_LOGITS, Student
from chirplet.module.pruning import Recovery
from chirplet.module.step.captured import BATCH_LOSS, CapturedStep
from chirplet.module.step.optimizer import RowwiseAdamW
from chirplet.module.step.training_module import Optimization
from chirplet.pruner.masking.masks import Ramp, global_magnitude_mask, prunable
from chirplet.pruner.masking.schedule import Moving, Rising
from chirplet.stage.fit.capturing import captures
from chirplet.system.error import ConfigError
from chirplet.task.single_label import SingleLabel
from chirplet.trainer import TrainerSettings
from no_values import NothingFromHost, no_values

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


@pytest.mark.parametrize("build", MODULES.values(), ids=MODULES)
def test_it_trains_as_lightning_does(compose_config, tmp_path, build):
    settings = trainer_settings(compose_config)
    expected, actual = build(), build()
    assert captures(settings, actual, [])
    reference = fitted(settings, expected, tmp_path, False)
    trainer = fitted(settings, actual, tmp_path, True)
    assert trainer.global_step == 12
    assert actual.captured_lengths == [8, 16, 24]
    assert actual.captured is None  # a GPU's memory is free for what comes after the training
    before = build().state_dict()
    assert any(not torch.equal(before[name], value) for name, value in actual.state_dict().items())
    assert_same(expected, actual)
    assert set(trainer.callback_metrics) == set(reference.callback_metrics)
    for name, value in reference.callback_metrics.items():
        torch.testing.assert_close(trainer.callback_metrics[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("build", MODULES.values(), ids=MODULES)
def test_its_losses_read_nothing_from_the_device(build):
    module, batch = build(), next(iter(loaders()[0]))
    with no_values() as device:
        module.to(device)
        module.on_fit_start()
        batch = {name: tensor.to(device) for name, tensor in batch.items()}
        with NothingFromHost():
            module.losses(batch)[BATCH_LOSS].backward()
            module.hold()
        with pytest.raises(RuntimeError, match="a tensor of the host was copied"), NothingFromHost():
            torch.ones(()).to(device)


@pytest.mark.parametrize(
    "overrides", [["accumulate_grad_batches=4"], ["gradient_clip_val=null"], ["precision=bf16-mixed"]], ids=str
)
def test_it_accumulates_clips_and_rounds_as_lightning_does(compose_config, tmp_path, overrides):
    settings = trainer_settings(compose_config, *overrides)
    expected, actual = classifier(layer_decay=0.5), classifier(layer_decay=0.5)
    before = fitted(settings, expected, tmp_path, False)
    after = fitted(settings, actual, tmp_path, True)
    assert after.global_step == before.global_step
    assert_same(expected, actual)


class Gradients(pl.Callback):
    """Where the gradients are after each batch."""

    def __init__(self) -> None:
        self.places = set()

    def on_train_batch_end(self, trainer, pl_module, *_) -> None:
        self.places.add(tuple(None if p.grad is None else p.grad.data_ptr() for p in pl_module.parameters()))


def test_accumulated_gradients_stay_where_the_graphs_add_to_them(compose_config, tmp_path):
    gradients = Gradients()
    settings = trainer_settings(compose_config, "accumulate_grad_batches=2", "val_check_interval=0.5")
    fitted(settings, classifier(), tmp_path, True, [gradients])
    assert len(gradients.places) == 1


def test_averaged_weights_are_those_of_lightning(compose_config, tmp_path):
    settings = trainer_settings(compose_config)
    expected, actual = classifier(), classifier()
    fitted(settings, expected, tmp_path, False, [EmaWeights(0.9)])
    fitted(settings, actual, tmp_path, True, [EmaWeights(0.9)])
    assert_same(expected, actual)


class Leave(pl.Callback):
    """Saves after a step in the midst of the second epoch, and ends the training."""

    def __init__(self, path) -> None:
        self.path = path

    def on_train_batch_end(self, trainer, *_) -> None:
        if trainer.global_step == 8:
            trainer.save_checkpoint(self.path)
            raise StopIteration


def test_a_resumed_run_is_the_same_to_the_bit(compose_config, tmp_path):
    from chirplet.callback.lightning.interruption import RandomState

    settings = trainer_settings(compose_config)
    whole, resumed = classifier(), classifier()
    fitted(settings, whole, tmp_path, True, [RandomState()])
    with suppress(StopIteration):
        fitted(settings, classifier(), tmp_path, True, [RandomState(), Leave(tmp_path / "left.ckpt")])
    fitted(settings, resumed, tmp_path, True, [RandomState()], tmp_path / "left.ckpt")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


class Watching(pl.Callback):
    def on_before_optimizer_step(self, *_) -> None:
        """Does nothing; that it is there counts."""


class Looking(pl.Callback):
    def on_after_backward(self, *_) -> None:
        """Does nothing; that it is there counts."""


def test_what_cannot_be_captured_is_said(compose_config, capsys):
    build = partial(trainer_settings, compose_config)
    slow = classifier()
    slow.fast_family = None
    for module, callbacks, reason in (
        (slow, [], "transformers computes the encoder"),
        (classifier(), [Watching()], "Watching needs the gradients"),
        (classifier(), [Looking()], "Looking needs the gradients"),
    ):
        with pytest.raises(ConfigError, match=f"trainer.cuda_graphs: got true, should be auto or false: {reason}"):
            captures(build(), module, callbacks)
    assert not captures(build("cuda_graphs=false"), classifier(), [])
    assert not captures(build("cuda_graphs=auto"), classifier(), [])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("override", ["devices=2", "rowwise_embeddings=true", "encoder=packed", "encoder=transformers"])
def test_settings_that_exclude_each_other_are_refused(compose_config, override):
    with pytest.raises(ConfigError, match=f"cuda_graphs: got true, should be auto or false with trainer.{override}"):
        trainer_settings(compose_config, override)


def stepped(scaler, factor=1.0):
    """A classifier after one captured step whose loss is multiplied by `factor`, and the step."""
    module = classifier()
    compute = module.losses
    module.losses = lambda batch: {name: factor * loss for name, loss in compute(batch).items()}
    optimizer = RowwiseAdamW(module.optimization.groups, fused=True)
    torch.manual_seed(0)
    step = CapturedStep(module, optimizer, scaler, 1.0, 1, torch.device("cpu"))
    step(next(iter(loaders()[0])), first=True, last=True)
    return module


def test_a_scaled_step_is_the_same_and_one_that_overflows_is_skipped():
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    assert_same(stepped(None), stepped(scaler))
    assert scaler.get_scale() == 1024.0
    skipped = stepped(scaler, factor=float("inf"))
    assert all(torch.equal(a, b) for a, b in zip(classifier().parameters(), skipped.parameters(), strict=True))
    assert scaler.get_scale() == 512.0
