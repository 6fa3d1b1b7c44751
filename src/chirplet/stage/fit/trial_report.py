"""Tell a sweep how a trial goes, and end it when the pruner says so."""

import pytorch_lightning as pl

from chirplet.sweep.trial.trial import RunningTrial


class TrialReport(pl.Callback):
    """Reports `monitor` after each validation, numbered from 1.

    Trials with different batch sizes take different numbers of steps, but validate equally often; so validations are
    what a pruner can compare.
    """

    def __init__(self, trial: RunningTrial, monitor: str) -> None:
        self.trial = trial
        self.monitor = monitor
        self.validations = 0

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report; raises `chirplet.sweep.trial.trial.Pruned`."""
        if not trainer.sanity_checking:
            self.validations += 1
            self.trial.report(float(trainer.callback_metrics[self.monitor]), self.validations)
