"""Log to TensorBoard."""

from typing import TYPE_CHECKING, Any, cast

from chirplet.logger.base import Identity, LoggerSettings, Results, Sheet
from chirplet.system.escaping import markdown

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger


class TensorBoardSettings(LoggerSettings):
    """Writes event files to `NAME/` below the run's folder; tables are shown as text."""

    extra = "tensorboard"

    name: str

    def build(self, identity: Identity) -> "Logger":
        """Build Lightning's TensorBoard logger."""
        from pytorch_lightning.loggers import TensorBoardLogger

        return TensorBoardLogger(save_dir=identity.output_dir, name=self.name, version="")

    def show(self, logger: "Logger", results: Results) -> None:
        """Log confusion matrices and the worst mistakes."""
        writer = cast(Any, logger).experiment
        for split, sheet in results.confusion_sheets().items():
            writer.add_text(f"confusion_matrix/{split}", _markdown(sheet), results.step)
        for split, sheet in results.mistakes.items():
            writer.add_text(f"worst_mistakes/{split}", _markdown(sheet), results.step)


def _markdown(sheet: Sheet) -> str:
    rows: list[list[Any]] = [sheet.columns, ["---"] * len(sheet.columns), *sheet.rows]
    return "\n".join(f"| {' | '.join(map(_cell, row))} |" for row in rows)


def _cell(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else markdown(value)
