"""A small run for loggers, and W&B's own folders kept out of the home directory."""

from collections.abc import Callable

import pytest
from omegaconf import DictConfig

from checkpoints import tiny_bert
from runs import small_run


@pytest.fixture(scope="package", autouse=True)
def wandb_folders(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
            patch.setenv(name, str(tmp_path_factory.mktemp(name)))
        yield


@pytest.fixture(scope="package")
def configured(compose_config, tmp_path_factory) -> Callable[..., DictConfig]:
    """A run of four steps and one validation."""
    folder = tmp_path_factory.mktemp("configured")
    encoder = tiny_bert(folder / "encoder")

    def composed(*overrides: str) -> DictConfig:
        debug = ["trainer.max_epochs=1", "trainer.limit_train_batches=4", "trainer.log_every_n_steps=1"]
        return compose_config(*small_run(encoder, folder), *debug, *overrides)

    return composed
