"""Lightning's DDP strategy for processes that chirplet starts (`chirplet.stage.fit.ddp_processes`)."""

import warnings
from typing import Any

from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.strategies import DDPStrategy
from torch.nn import Module
from torch.nn.parallel import DistributedDataParallel

from chirplet.data.batching.batches import Shard
from chirplet.module.classifier import Classifier


class SingleNodeEnvironment(LightningEnvironment):
    """The rank of this process, on one machine. Lightning starts no processes.

    It does not read RANK, LOCAL_RANK, WORLD_SIZE or SLURM's variables: what started the command may set them, for tasks
    that are none of chirplet's.
    """

    def __init__(self, shard: Shard) -> None:
        super().__init__()
        self.set_world_size(shard.processes)
        self.set_global_rank(shard.rank)

    @property
    def creates_processes_externally(self) -> bool:
        """Always true, since chirplet starts the processes."""
        return True

    def local_rank(self) -> int:
        """The global rank, since all processes are on one machine."""
        return self.global_rank()

    def node_rank(self) -> int:
        """0, the only machine."""
        return 0


class SharedBatchDDP(DDPStrategy):
    """DDP that averages gradients over processes, sparse ones of embeddings included."""

    def _setup_model(self, model: Module) -> DistributedDataParallel:
        """Wrap without broadcasting buffers, since all processes compute the same ones.

        A parameter that no process has used has no gradient then, as in a single process.
        """
        assert isinstance(model, Classifier)
        self._ddp_kwargs |= {"broadcast_buffers": False, "find_unused_parameters": model.leaves_unused}
        with warnings.catch_warnings():
            # torch 2.13 renames the argument; torch 2.10 does not have the new name.
            warnings.filterwarnings("ignore", message=".*`broadcast_buffers` is deprecated.*")
            return super()._setup_model(model)

    def barrier(self, name: str | None = None, *args: Any, **kwargs: Any) -> None:
        """Wait for the other processes, except when a checkpoint is saved.

        The first process alone saves checkpoints, and on an interruption it does so without the others.
        """
        if name != "Trainer.save_checkpoint":
            super().barrier(name, *args, **kwargs)

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:  # noqa: A002 - Lightning's name
        """Return the local decision. All processes have the same metrics and decide the same."""
        return decision
