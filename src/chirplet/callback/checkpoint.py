"""Keep the best weights, and enough to go on after an interruption."""

from pathlib import Path
from typing import TYPE_CHECKING

from chirplet.callback.base import BEST, LAST, CallbackSettings
from chirplet.config.schema import Count, Monitor, Positive, monitor_mode

if TYPE_CHECKING:
    from pytorch_lightning.callbacks import ModelCheckpoint


class CheckpointSettings(CallbackSettings):
    """Save after each validation: the best `keep` by `monitor`, and `last.ckpt`, from which the same command goes on.

    `last.ckpt` is saved within long epochs too, `every_minutes`, by `chirplet.callback.lightning.interruption`.
    """

    monitor: Monitor
    keep: Count
    every_minutes: Positive | None

    @property
    def needs_validation(self) -> bool:
        """It chooses by a validation metric; `build_last` does not."""
        return True

    def build(self, folder: Path) -> "ModelCheckpoint":
        """Lightning's own checkpoints, the best by `monitor`."""
        from chirplet.callback.lightning.interruption import MovableCheckpoint

        return MovableCheckpoint(
            dirpath=folder,
            # Without Lightning's `epoch=`: a `=` in a path cannot be typed as an override.
            filename=f"{BEST}{{epoch:02d}}-{{step}}",
            auto_insert_metric_name=False,
            monitor=self.monitor,
            mode=monitor_mode(self.monitor),
            save_top_k=self.keep,
        )

    def build_last(self, folder: Path) -> "ModelCheckpoint":
        """The state after each validation, or each epoch without one, whether it was better or not."""
        from chirplet.callback.lightning.interruption import MovableCheckpoint

        return MovableCheckpoint(
            dirpath=folder, filename=LAST.removesuffix(".ckpt"), save_top_k=1, enable_version_counter=False
        )
