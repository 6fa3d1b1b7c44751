"""Report a trial's validations to its sweep, and end the trial when the pruner decides so."""

import pytorch_lightning as pl

from chirplet.sweep.trial.trial import RunningTrial


class TrialReport(pl.Callback):
    """Reports `monitor` after each validation, numbered from 1.

    The step reported is the number of the validation, since trials with different batch sizes take different numbers of
    optimizer steps but validate equally often.
    """

    def __init__(self, trial: RunningTrial, monitor: str) -> None:
        self.trial = trial
        self.monitor = monitor
        self.validations = 0

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report the metric. Raises `chirplet.sweep.trial.trial.Pruned` if the pruner ends the trial."""
        if not trainer.sanity_checking:
            self.validations += 1
            self.trial.report(float(trainer.callback_metrics[self.monitor]), self.validations)
