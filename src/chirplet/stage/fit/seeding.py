"""Seeds, threads and the precision of products, set before every training."""

import pytorch_lightning as pl
import torch

from chirplet.stage.run.context import Run
from chirplet.system.hardware import set_torch_threads


def seed_everything(run: Run) -> None:
    """Seed every generator, and set the number of threads and the precision of fp32 products."""
    pl.seed_everything(run.seed, verbose=False)
    torch.set_float32_matmul_precision(run.trainer.matmul_precision)
    set_torch_threads(run.trainer.threads)
