"""On a GPU, captured steps train as others do, and wait for nothing. `pytest -m gpu`."""

from functools import partial

import pytest
import pytorch_lightning as pl
import torch

from captured_steps import (
    MODULES,
    assert_same,
    classifier,
    fitted,
    inside,
    resumes_to_the_bit,
    student,
    trainer_settings,
)

pytestmark = pytest.mark.gpu


class Strict(pl.Callback):
    """Lets whatever waits for the device between the hooks of a batch raise."""

    def on_train_batch_start(self, *_) -> None:
        torch.cuda.set_sync_debug_mode("error")

    def on_train_batch_end(self, *_) -> None:
        torch.cuda.set_sync_debug_mode("default")


def same_without_graphs(settings, build, folder) -> None:
    expected, actual = build(), build()
    fitted(settings, expected, folder, False)
    fitted(settings, actual, folder, True)
    assert actual.captured_lengths == [8, 16, 24]
    assert_same(expected, actual)


@pytest.mark.parametrize("build", MODULES.values(), ids=MODULES)
def test_it_trains_as_without_graphs(compose_config, tmp_path, build):
    same_without_graphs(trainer_settings(compose_config, "accelerator=gpu"), build, tmp_path)


@pytest.mark.parametrize("override", ["accumulate_grad_batches=2", "precision=bf16-mixed", "precision=16-mixed"])
def test_it_accumulates_and_rounds_as_without_graphs(compose_config, tmp_path, override):
    settings = trainer_settings(compose_config, "accelerator=gpu", "val_check_interval=0.5", override)
    same_without_graphs(settings, classifier, tmp_path)


@pytest.mark.parametrize("build", [classifier, student, partial(inside, 24)])
def test_no_step_waits(compose_config, tmp_path, build):
    settings = trainer_settings(compose_config, "accelerator=gpu", "precision=bf16-mixed", "log_every_n_steps=100")
    try:
        fitted(settings, build(), tmp_path, True, [Strict()])
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_a_resumed_run_is_the_same_to_the_bit(compose_config, tmp_path, precision):
    resumes_to_the_bit(trainer_settings(compose_config, "accelerator=gpu", f"precision={precision}"), tmp_path)
