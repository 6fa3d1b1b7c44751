"""Keep the best weights, and enough to go on after an interruption."""

from pathlib import Path
from typing import TYPE_CHECKING

from chirplet.callback.base import CallbackSettings, monitor_mode
from chirplet.config import Count

if TYPE_CHECKING:
    from pytorch_lightning.callbacks import ModelCheckpoint


class CheckpointSettings(CallbackSettings):
    """Save after each validation: the best `keep` by `monitor`, and `last.ckpt`, from which `resume=` goes on."""

    monitor: str
    keep: Count

    def build(self, folder: Path) -> "ModelCheckpoint":
        """Lightning's own checkpoints, chosen by `monitor`."""
        return self._make(folder, self.monitor, self.keep)

    def build_unmonitored(self, folder: Path) -> "ModelCheckpoint":
        """For a run without validation: the last state alone."""
        return self._make(folder, None, 0)

    def _make(self, folder: Path, monitor: str | None, keep: int) -> "ModelCheckpoint":
        from pytorch_lightning.callbacks import ModelCheckpoint

        return ModelCheckpoint(
            dirpath=folder,
            filename="best-{epoch:02d}-{step}",
            monitor=monitor,
            mode=monitor_mode(monitor or ""),
            save_top_k=keep,
            save_last=True,
            enable_version_counter=False,
        )
