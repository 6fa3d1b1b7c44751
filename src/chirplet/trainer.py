"""Trainer settings. Keys that `pytorch_lightning.Trainer` also has are named as there."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from chirplet.config.schema import Count, Index, Settings
from chirplet.data.batching.padding import few_lengths
from chirplet.system.error import ConfigError
from chirplet.system.hardware import MixedPrecision, automatic_precision, device_of

if TYPE_CHECKING:
    import pytorch_lightning as pl
    import torch
    from pytorch_lightning.loggers import Logger

    from chirplet.data.batching.batches import Shard
    from chirplet.data.batching.padding import PadTo
    from chirplet.model.fast_forward.encoder import Encoder


class TrainerSettings(Settings):
    """Hardware, precision and length of a training run.

    `precision: auto` is bf16 mixed precision if the device computes bf16 natively (CPU with AVX512-BF16 or AMX, GPU
    from Ampere on), otherwise fp16 mixed precision on a GPU and fp32 elsewhere. `matmul_precision` is that of
    `torch.set_float32_matmul_precision`. `threads: null` uses torch's default, at most one thread per core of this
    process.

    With `devices` above 1 that many processes train together, each on one GPU or on its part of the CPU cores. A
    stage's `batch_size` is still the size of the whole batch. The result is that of one process, except for dropout's
    random numbers and the order of floating-point sums. The first process does everything outside training, including
    evaluation.

    The last six keys affect speed. `encoder` selects the implementation of the encoder in training:
    `chirplet.model.fast_forward.encoder` on packed or padded batches, or `transformers`, which supports more families;
    `auto` is packed, but padded on a GPU. With `cuda_graphs` a GPU launches the kernels of a training step together
    (`CapturedStep`); batches are then padded to few lengths. `auto` captures where that is possible, `true` raises
    where it is not, and on a CPU calls what a GPU would capture. `pool_batches` is the number of batches sorted by
    length together, which saves padding. `rowwise_embeddings` updates only the word embeddings that a batch uses
    (`RowwiseAdamW`); `auto` does so on a CPU.
    """

    accelerator: Literal["auto", "cpu", "gpu", "mps"]
    devices: Count
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"]
    matmul_precision: Literal["highest", "high", "medium"]
    threads: Count | None
    max_epochs: Count
    max_steps: Count | Literal[-1]
    gradient_clip_val: Annotated[float, Field(gt=0)] | None
    accumulate_grad_batches: Count
    val_check_interval: Annotated[float, Field(gt=0, le=1)]
    log_every_n_steps: Count
    limit_train_batches: Count | Annotated[float, Field(gt=0, le=1)]
    limit_val_batches: Count | Annotated[float, Field(gt=0, le=1)]
    num_sanity_val_steps: Index
    encoder: Literal["auto", "packed", "padded", "transformers"]
    cuda_graphs: Literal["auto"] | bool
    pool_batches: Count
    pad_to_multiple_of: Count
    rowwise_embeddings: Literal["auto"] | bool
    keep_freed_memory: bool

    @model_validator(mode="after")
    def _graphs_are_possible(self) -> Self:
        reason = self.against_graphs()
        if self.cuda_graphs is True and reason is not None:
            raise ValueError(f"cuda_graphs: got true, should be auto or false with {reason}")
        return self

    def against_graphs(self) -> str | None:
        """The setting that keeps steps from being captured; None if there is none."""
        if self.accelerator == "mps":
            return "trainer.accelerator=mps"
        if self.devices > 1:
            return f"trainer.devices={self.devices}"
        if self.encoder in ("packed", "transformers"):
            return f"trainer.encoder={self.encoder}"
        return "trainer.rowwise_embeddings=true" if self.rowwise_embeddings is True else None

    def device(self) -> "torch.device":
        """The device of `accelerator` on this machine.

        Raises:
            ConfigError: the requested accelerator is not available.
        """
        return device_of(self.accelerator)

    def check_needs(self) -> None:
        """Check that the device is here, computes `precision`, and that `devices` processes can train together.

        Raises:
            ConfigError: it is not; there are fewer GPUs, or `rowwise_embeddings` is set for several GPUs.
        """
        if self.accelerator in ("auto", "cpu") and self.precision != "16-mixed" and self.devices == 1:
            return  # without torch: every machine has that
        import torch

        self.resolved_precision()
        kind = self.device().type
        if self.devices == 1 or kind == "cpu":
            return
        available = torch.cuda.device_count() if kind == "cuda" else 1
        if self.devices > available:
            raise ConfigError(
                f"trainer.devices: got {self.devices}, should be at most {available}, the number of {kind} devices"
            )
        if self.resolved_rowwise_embeddings():
            raise ConfigError(
                "trainer.rowwise_embeddings: got true, should be false with trainer.devices="
                f"{self.devices}: NCCL does not reduce sparse gradients"
            )

    def optimizer_steps(self, batches: int) -> int:
        """Optimizer steps of a whole run over a loader of this many batches.

        Raises:
            ConfigError: `limit_train_batches` leaves no batch.
        """
        if self._used(batches) == 0:
            limit = self.limit_train_batches
            raise ConfigError(f"trainer.limit_train_batches: got {limit}, which leaves none of {batches} batches")
        steps = -(-self._used(batches) // self.accumulate_grad_batches) * self.max_epochs
        return steps if self.max_steps == -1 else min(steps, self.max_steps)

    def _used(self, batches: int) -> int:
        """The batches of an epoch, of a loader of this many."""
        limit = self.limit_train_batches
        return min(limit, batches) if isinstance(limit, int) else int(batches * limit)

    def check_validated(self, batches: int) -> None:
        """Check that a run over a loader of this many batches reaches its first validation.

        Raises:
            ConfigError: `max_steps` ends it before, so that no checkpoint could be chosen by validation.
        """
        first = -(-max(int(self._used(batches) * self.val_check_interval), 1) // self.accumulate_grad_batches)
        if self.max_steps != -1 and self.max_steps < first:
            raise ConfigError(
                f"trainer.max_steps: got {self.max_steps}, should be at least {first}, the step of the first "
                "validation; or lower trainer.val_check_interval, or set callback=none"
            )

    def resolved_precision(self) -> MixedPrecision:
        """`precision` with `auto` decided for this machine's device.

        Raises:
            ConfigError: fp16 is requested on a CPU, where Lightning would silently use bf16.
        """
        if self.precision == "16-mixed" and self.device().type == "cpu":
            raise ConfigError("trainer.precision: got '16-mixed', should be auto or bf16-mixed without a GPU")
        if self.precision != "auto":
            return self.precision
        return automatic_precision(self.device())

    def wants_graphs(self) -> bool:
        """Whether training steps are to be captured, if that is possible."""
        return self.device().type == "cuda" if self.cuda_graphs == "auto" else self.cuda_graphs

    def pad_to(self, max_length: int) -> "PadTo":
        """How batches of texts of at most `max_length` tokens are padded: to few lengths where each has a graph."""
        return partial(few_lengths, limit=max_length) if self.wants_graphs() else self.pad_to_multiple_of

    def resolved_encoder(self) -> "Encoder":
        """`encoder` with `auto` decided for this machine's device."""
        if self.encoder != "auto":
            return self.encoder
        return "padded" if self.device().type == "cuda" or self.wants_graphs() else "packed"

    def resolved_rowwise_embeddings(self) -> bool:
        """`rowwise_embeddings` with `auto` decided for this machine's device."""
        if self.rowwise_embeddings != "auto":
            return self.rowwise_embeddings
        return self.device().type == "cpu" and not self.wants_graphs()

    def build(
        self,
        callbacks: "Sequence[pl.Callback]",
        loggers: "Sequence[Logger]",
        deterministic: bool,
        folder: Path,
        batches: int,
        shard: "Shard | None" = None,
    ) -> "pl.Trainer":
        """A Lightning trainer with these settings that writes below `folder`; with a `shard`, one rank of DDP.

        `batches` is the length of the training loader. The training loss is logged at least once in an epoch.
        """
        import pytorch_lightning as pl
        from pytorch_lightning.callbacks import ModelCheckpoint

        from chirplet.callback.lightning.interruption import DurableCheckpointIO
        from chirplet.data.batching.batches import Shard
        from chirplet.module.ddp_strategy import SharedBatchDDP, SingleNodeEnvironment

        steps = self.optimizer_steps(batches)
        strategy: Any = "auto" if shard is None else SharedBatchDDP()
        # Also for one process: Lightning would take its rank and its number of processes from the environment.
        environment = SingleNodeEnvironment(shard or Shard(0, 1))
        return pl.Trainer(
            accelerator={"cuda": "gpu"}.get(self.device().type, self.device().type),
            devices=1 if shard is None else shard.processes,
            strategy=strategy,
            use_distributed_sampler=False,  # the loaders shard batches themselves
            precision=self.resolved_precision(),
            max_epochs=self.max_epochs,
            max_steps=self.max_steps,
            gradient_clip_val=self.gradient_clip_val,
            accumulate_grad_batches=self.accumulate_grad_batches,
            val_check_interval=self.val_check_interval,
            log_every_n_steps=min(self.log_every_n_steps, -(-steps // self.max_epochs)),
            limit_train_batches=self.limit_train_batches,
            limit_val_batches=self.limit_val_batches,
            num_sanity_val_steps=self.num_sanity_val_steps,
            callbacks=list(callbacks),
            logger=list(loggers),
            deterministic=deterministic,
            default_root_dir=folder,
            plugins=[DurableCheckpointIO(), environment],
            enable_checkpointing=any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
            enable_progress_bar=False,
            enable_model_summary=False,
        )
