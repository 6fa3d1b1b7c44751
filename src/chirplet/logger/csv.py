"""Metrics as a CSV file beside the run."""

from pathlib import Path
from typing import TYPE_CHECKING

from chirplet.logger.base import LoggerSettings

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger


class CsvSettings(LoggerSettings):
    """Writes `NAME/metrics.csv` below the run's folder."""

    name: str

    def build(self, output_dir: Path) -> "Logger":
        """Lightning's CSV logger."""
        from pytorch_lightning.loggers import CSVLogger

        return CSVLogger(save_dir=output_dir, name=self.name, version="")
