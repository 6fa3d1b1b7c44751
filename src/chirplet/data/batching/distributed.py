"""Losses and validation results over several DDP processes.

DDP averages the gradients of the processes. Each process therefore multiplies the mean over its part of the batch by
processes · part / batch, counted in the unit of the mean. The average is then the gradient of the mean over the whole
batch, also if the parts differ in size.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.distributed import get_world_size, is_initialized
from torchmetrics.utilities.distributed import gather_all_tensors

from chirplet.data.batching.batches import Batch

MeanOver = Literal["texts", "tokens"]
"""The unit of a mean."""


def factor(batch: Batch, over: MeanOver) -> Tensor | float:
    """The factor for a mean over this part's tweets or tokens; 1 with a single process."""
    if "texts_of" not in batch:
        return 1.0
    local, whole = batch[f"{over}_of"].unbind()
    return batch["processes"] * local / whole


def gathered(part: Sequence[Tensor], empty: Tensor) -> Tensor:
    """Concatenate the rows of all processes in order of rank; `empty` has no rows, for a process without any."""
    rows = torch.cat([empty, *part])
    return torch.cat(gather_all_tensors(rows)) if several() else rows


def several() -> bool:
    """Whether several processes train together."""
    return is_initialized() and get_world_size() > 1
