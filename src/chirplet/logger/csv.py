"""Log metrics to a CSV file."""

import csv
from pathlib import Path
from typing import TYPE_CHECKING

from chirplet.logger.base import Identity, LoggerSettings, Results
from chirplet.system.escaping import csv_cell

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger


class CsvSettings(LoggerSettings):
    """Writes `NAME/metrics.csv` below the run's folder, and next to it confusion matrices and the worst mistakes.

    A resumed run keeps the rows up to the step from which it resumes.
    """

    name: str

    def build(self, identity: Identity) -> "Logger":
        """Build Lightning's CSV logger."""
        from chirplet.logger.delivery.resumed import ContinuedCsvLogger

        return ContinuedCsvLogger(identity.output_dir, self.name)

    def show(self, logger: "Logger", results: Results) -> None:
        """Write one file per table."""
        folder = Path(logger.log_dir)  # type: ignore[arg-type]
        sheets = {f"confusion_matrix_{split}": sheet for split, sheet in results.confusion_sheets().items()}
        sheets |= {f"worst_mistakes_{split}": sheet for split, sheet in results.mistakes.items()}
        for name, sheet in sheets.items():
            with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows(map(csv_cell, row) for row in [sheet.columns, *sheet.rows])
