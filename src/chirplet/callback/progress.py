"""Show the progress of training."""

from pathlib import Path
from typing import TYPE_CHECKING

from chirplet.callback.base import CallbackSettings
from chirplet.config.schema import Positive
from chirplet.metric.names import Monitor

if TYPE_CHECKING:
    from pytorch_lightning import Callback


class ProgressSettings(CallbackSettings):
    """Show texts/s, time left and the best `monitor`: as a bar on a terminal, else as lines, and at each validation."""

    monitor: Monitor
    refresh_s: Positive
    line_s: Positive

    def build(self, folder: Path) -> "Callback":
        """Build the display."""
        from chirplet.callback.lightning.progress_display import TrainingDisplay

        return TrainingDisplay(self.monitor, self.refresh_s, self.line_s)
