"""The batches that a stage trains and validates on, as the trainer's settings say."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from chirplet.data.base import Examples
from chirplet.data.batching.batches import ResumableLoader, evaluation_loader, training_loader
from chirplet.stage.run.context import Run
from chirplet.stage.run.prepared import Prepared


def training_batches(
    run: Run,
    data: Prepared,
    texts: Examples,
    batch_size: int,
    extra: Mapping[str, NDArray[np.float32]] | None = None,
) -> ResumableLoader:
    """Seeded, shuffled batches of `texts`; `extra` has further rows for each of them, see `Collate`."""
    return training_loader(
        data.tokens(texts),
        data.task.targets(texts),
        data.pad_id,
        batch_size,
        run.seed,
        run.trainer.pool_batches,
        run.trainer.pad_to(data.max_length),
        extra,
        run.trainer.device().type == "cuda",
    )


def validation_batches(run: Run, data: Prepared, batch_size: int) -> DataLoader[Any]:
    """Batches of the validation texts."""
    texts = data.corpus.val
    return evaluation_loader(
        data.tokens(texts),
        data.task.targets(texts),
        data.pad_id,
        batch_size,
        run.trainer.pad_to(data.max_length),
        run.trainer.device().type == "cuda",
    )
