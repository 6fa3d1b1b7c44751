"""A captured step trains as Lightning's hooks do. On a CPU each replay calls what a GPU would have recorded."""

from functools import partial

import pytest
import pytorch_lightning as pl
import torch

from captured_steps import (
    MODULES,
    assert_same,
    classifier,
    fitted,
    loaders,
    resumes_to_the_bit,
    trainer_settings,
)
from chirplet.callback.lightning.weight_averaging import EmaWeights
from chirplet.module.step.captured import BATCH_LOSS, CapturedStep
from chirplet.module.step.optimizer import RowwiseAdamW
from chirplet.stage.fit.capturing import captures
from chirplet.system.error import ConfigError
from no_values import NothingFromHost, no_values


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


def test_a_resumed_run_is_the_same_to_the_bit(compose_config, tmp_path):
    resumes_to_the_bit(trainer_settings(compose_config), tmp_path)


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
