"""Seeds and threads, set before every training."""

import pytorch_lightning as pl

from chirplet.stage.run.context import Run
from chirplet.system.hardware import set_torch_threads


def seed_everything(run: Run) -> None:
    """Seed every generator and set the number of threads."""
    pl.seed_everything(run.seed, verbose=False)
    set_torch_threads(run.trainer.threads)
