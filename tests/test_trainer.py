"""Settings of the trainer."""

import pytest

from chirplet.cli.binding import parse


@pytest.mark.parametrize(
    ("overrides", "batches", "steps"),
    [
        ([], 100, 20),
        ([], 7, 7),
        (["trainer.accumulate_grad_batches=4"], 10, 3),
        (["trainer.limit_train_batches=5"], 100, 5),
        (["trainer.max_steps=2", "trainer.max_epochs=1"], 100, 2),
    ],
)
def test_the_loss_is_logged_in_every_epoch(overrides, batches, steps, compose_config, tmp_path):
    trainer = parse(compose_config(*overrides)).trainer
    assert trainer.build([], [], False, tmp_path, batches).log_every_n_steps == steps
