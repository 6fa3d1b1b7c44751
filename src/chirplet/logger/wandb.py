"""Metrics for Weights & Biases."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from chirplet.error import ConfigError
from chirplet.logger.base import LoggerSettings

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger


class WandbSettings(LoggerSettings):
    """A W&B run. The key comes from the environment (`WANDB_API_KEY`) or `wandb login`, never from the configuration.

    `WANDB_MODE=offline` keeps the run on this machine, to be sent later with `wandb sync`.
    """

    project: str
    name: str | None
    group: str | None
    tags: list[str]

    def build(self, output_dir: Path) -> "Logger":
        """Lightning's W&B logger, writing below `output_dir`.

        Raises:
            ConfigError: wandb is not installed.
        """
        if find_spec("wandb") is None:
            raise ConfigError("logger.wandb: wandb is not installed; pip install 'chirplet[wandb]'")
        from pytorch_lightning.loggers import WandbLogger

        return WandbLogger(
            project=self.project,
            name=self.name,
            group=self.group,
            tags=self.tags,
            save_dir=str(output_dir),
            mode=os.environ.get("WANDB_MODE"),
        )

    def close(self, logger: "Logger", succeeded: bool) -> None:
        """End the W&B run too, which Lightning leaves open."""
        super().close(logger, succeeded)
        logger.experiment.finish(exit_code=0 if succeeded else 1)  # type: ignore[attr-defined]
