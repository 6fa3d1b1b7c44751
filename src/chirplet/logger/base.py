"""What a logger's settings are."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

from chirplet.config import Settings

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger


class LoggerSettings(Settings, ABC):
    """Settings that build one Lightning logger."""

    @abstractmethod
    def build(self, output_dir: Path) -> "Logger":
        """The Lightning logger, writing below `output_dir`; imports Lightning.

        Raises:
            ConfigError: the logger's library is not installed; the line names the extra that brings it.
        """

    def close(self, logger: "Logger", succeeded: bool) -> None:
        """Write what is still held back and end the logger's run."""
        logger.finalize("success" if succeeded else "failed")
