"""Save the best weights, and checkpoints to resume from."""

from pathlib import Path
from typing import TYPE_CHECKING

from chirplet.callback.base import BEST, LAST, CallbackSettings
from chirplet.config.schema import Count, Positive
from chirplet.metric.names import Monitor, monitor_mode

if TYPE_CHECKING:
    from pytorch_lightning.callbacks import ModelCheckpoint


class CheckpointSettings(CallbackSettings):
    """After each validation, save the best `keep` checkpoints by `monitor`, and `last.ckpt`, from which a run resumes.

    `last.ckpt` is also saved `every_minutes` within an epoch, by `chirplet.callback.lightning.interruption`.
    """

    monitor: Monitor
    keep: Count
    every_minutes: Positive | None

    @property
    def needs_validation(self) -> bool:
        """True, because the best checkpoint is chosen by a validation metric; `build_last` needs none."""
        return True

    def build(self, folder: Path) -> "ModelCheckpoint":
        """Build the callback for the best checkpoints by `monitor`."""
        from chirplet.callback.lightning.interruption import MovableCheckpoint

        return MovableCheckpoint(
            dirpath=folder,
            # Without Lightning's `epoch=`, because `=` in a path would have to be escaped in an override.
            filename=f"{BEST}{{epoch:02d}}-{{step}}",
            auto_insert_metric_name=False,
            monitor=self.monitor,
            mode=monitor_mode(self.monitor),
            save_top_k=self.keep,
        )

    def build_last(self, folder: Path) -> "ModelCheckpoint":
        """Build the callback that saves the state after each validation, or each epoch without validation."""
        from chirplet.callback.lightning.interruption import MovableCheckpoint

        return MovableCheckpoint(
            dirpath=folder, filename=LAST.removesuffix(".ckpt"), save_top_k=1, enable_version_counter=False
        )
