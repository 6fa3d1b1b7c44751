"""What one of several processes adds to a loss over the whole batch, and how all see the whole of what they validated.

The processes' gradients are averaged. So each multiplies the mean over its part by (processes · own / all), counted in
what the mean is over; the average is then the gradient of the mean over the whole batch, however uneven the parts are.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.distributed import get_world_size, is_initialized
from torchmetrics.utilities.distributed import gather_all_tensors

from chirplet.data.batching.batches import Batch

MeanOver = Literal["texts", "tokens"]
"""What a mean is over."""


def factor(batch: Batch, over: MeanOver) -> Tensor | float:
    """What a mean over this part's tweets or tokens is multiplied by; 1 in one process."""
    if "texts_of" not in batch:
        return 1.0
    own, whole = batch[f"{over}_of"].unbind()
    return batch["processes"] * own / whole


def gathered(part: Sequence[Tensor], empty: Tensor) -> Tensor:
    """Rows of all processes together, those of the first one first; `empty` has no rows, for a process without any."""
    rows = torch.cat([empty, *part])
    return torch.cat(gather_all_tensors(rows)) if several() else rows


def several() -> bool:
    """Whether this process trains together with others."""
    return is_initialized() and get_world_size() > 1
