"""How training runs on the hardware; keys are named as in `pytorch_lightning.Trainer`."""

from typing import Annotated, Literal

from pydantic import Field

from chirplet.config import Count, Index, Settings


class TrainerSettings(Settings):
    """Hardware, precision and length of a training run.

    `precision: auto` is bf16 mixed precision where the device computes bf16 natively (CPU with AVX512-BF16 or AMX,
    GPU from Ampere on), fp32 elsewhere. `threads: null` leaves torch's own choice.
    """

    accelerator: Literal["auto", "cpu", "gpu", "mps"]
    devices: Count
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"]
    threads: Count | None
    max_epochs: Count
    max_steps: Annotated[int, Field(ge=-1)]
    gradient_clip_val: Annotated[float, Field(gt=0)] | None
    accumulate_grad_batches: Count
    val_check_interval: Annotated[float, Field(gt=0, le=1)]
    log_every_n_steps: Count
    limit_train_batches: Count | Annotated[float, Field(gt=0, le=1)]
    limit_val_batches: Count | Annotated[float, Field(gt=0, le=1)]
    num_sanity_val_steps: Index
