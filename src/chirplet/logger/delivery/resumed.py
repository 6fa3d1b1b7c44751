"""Lightning's CSV logger for resumed runs; Lightning itself deletes an existing file."""

import csv
from collections.abc import Mapping
from pathlib import Path

from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.utilities import rank_zero_only

FILE = "metrics.csv"


class ContinuedCsvLogger(CSVLogger):
    """Keeps existing rows of steps before the first logged one, and writes each row immediately."""

    def __init__(self, output_dir: Path, name: str) -> None:
        super().__init__(save_dir=output_dir, name=name, version="", flush_logs_every_n_steps=1)
        self._path = Path(self.log_dir) / FILE
        self._before = _rows(self._path)
        if self._before:  # `self.experiment` creates Lightning's writer, which deletes them
            self.experiment.metrics = list(self._before)
            self.experiment.save()

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:  # type: ignore[override]
        """Log metrics; the first call drops existing rows from its step on."""
        if self._before and step is not None:
            self._path.unlink()
            self.experiment.metrics = [row for row in self._before if int(row["step"]) < step]
            self._before = []
        super().log_metrics(dict(metrics), step)


def _rows(path: Path) -> list[dict[str, str]]:
    """Rows without empty cells and without an incomplete last row; none if there is no file."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    rows = [{name: value for name, value in row.items() if name and value} for row in csv.DictReader(whole)]
    return [row for row in rows if row.get("step", "").isdecimal()]
