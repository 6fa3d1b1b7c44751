"""End training when validation no longer improves."""

from pathlib import Path
from typing import TYPE_CHECKING

from chirplet.callback.base import CallbackSettings
from chirplet.config.schema import Count, NonNegative
from chirplet.metric.names import Monitor, monitor_mode

if TYPE_CHECKING:
    from pytorch_lightning.callbacks import EarlyStopping


class EarlyStoppingSettings(CallbackSettings):
    """Stop after `patience_validations` validations in which `monitor` improved by at most `min_delta`."""

    monitor: Monitor
    patience_validations: Count
    min_delta: NonNegative

    @property
    def needs_validation(self) -> bool:
        """True, because a validation metric is monitored."""
        return True

    def build(self, folder: Path) -> "EarlyStopping":
        """Build Lightning's early stopping, extended so that a resumed run stays stopped."""
        from chirplet.callback.lightning.interruption import DurableEarlyStopping

        return DurableEarlyStopping(
            monitor=self.monitor,
            mode=monitor_mode(self.monitor),
            patience=self.patience_validations,
            min_delta=self.min_delta,
        )
