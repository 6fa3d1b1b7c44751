"""Metrics for TensorBoard."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from chirplet.error import ConfigError
from chirplet.logger.base import LoggerSettings

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger


class TensorBoardSettings(LoggerSettings):
    """Writes event files to `NAME/` below the run's folder."""

    name: str

    def build(self, output_dir: Path) -> "Logger":
        """Lightning's TensorBoard logger.

        Raises:
            ConfigError: tensorboard is not installed.
        """
        if find_spec("tensorboard") is None:
            raise ConfigError("logger.tensorboard: tensorboard is not installed; pip install 'chirplet[tensorboard]'")
        from pytorch_lightning.loggers import TensorBoardLogger

        return TensorBoardLogger(save_dir=output_dir, name=self.name, version="")
