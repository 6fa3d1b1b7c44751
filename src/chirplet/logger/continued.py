"""Lightning's CSV logger, which deletes the file that it finds, for runs that go on."""

import csv
from collections.abc import Mapping
from pathlib import Path

from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.utilities import rank_zero_only

FILE = "metrics.csv"


class ContinuedCsvLogger(CSVLogger):
    """Keeps the rows of before the first step that it is told of, and writes each row at once."""

    def __init__(self, output_dir: Path, name: str) -> None:
        super().__init__(save_dir=output_dir, name=name, version="", flush_logs_every_n_steps=1)
        # Read before Lightning's writer is made, which deletes the file.
        self._before = _rows(Path(self.log_dir) / FILE)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:  # type: ignore[override]
        """As Lightning's; the first time, after the rows of earlier steps."""
        if self._before and step is not None:
            self.experiment.metrics += [row for row in self._before if int(row["step"]) < step]
            self._before = []
        super().log_metrics(dict(metrics), step)


def _rows(path: Path) -> list[dict[str, str]]:
    """Rows without their empty cells; none of a file that is not there, and not a last one that has no end."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    rows = [{name: value for name, value in row.items() if name and value} for row in csv.DictReader(whole)]
    return [row for row in rows if row.get("step", "").isdecimal()]
