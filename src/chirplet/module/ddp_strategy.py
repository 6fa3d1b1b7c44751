"""How Lightning trains in several processes that chirplet started itself (`chirplet.stage.fit.ddp_processes`)."""

import warnings
from typing import Any

from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.strategies import DDPStrategy
from torch.nn import Module
from torch.nn.parallel import DistributedDataParallel

from chirplet.data.batching.batches import Shard
from chirplet.module.classifier import Classifier


class SingleNodeEnvironment(LightningEnvironment):
    """This process's place among the others; Lightning is to start none."""

    def __init__(self, shard: Shard) -> None:
        super().__init__()
        self.set_world_size(shard.processes)
        self.set_global_rank(shard.rank)

    @property
    def creates_processes_externally(self) -> bool:
        """It does."""
        return True

    def local_rank(self) -> int:
        """All are on one machine."""
        return self.global_rank()

    def node_rank(self) -> int:
        """It is the only one."""
        return 0


class SharedBatchDDP(DDPStrategy):
    """Gradients averaged over the processes, those of embeddings that have sparse ones too."""

    def _setup_model(self, model: Module) -> DistributedDataParallel:
        """Without sending buffers around, since all processes compute the same.

        A parameter that no process has used has no gradient then, as in one process.
        """
        assert isinstance(model, Classifier)
        self._ddp_kwargs |= {"broadcast_buffers": False, "find_unused_parameters": model.leaves_unused}
        with warnings.catch_warnings():
            # torch 2.13 has another name for it, which 2.10 does not know.
            warnings.filterwarnings("ignore", message=".*`broadcast_buffers` is deprecated.*")
            return super()._setup_model(model)

    def barrier(self, name: str | None = None, *args: Any, **kwargs: Any) -> None:
        """Wait for the others, but not for a checkpoint: the first process alone writes it and ever asks for it.

        So it can save and leave without them when it is interrupted.
        """
        if name != "Trainer.save_checkpoint":
            super().barrier(name, *args, **kwargs)

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:  # noqa: A002 - Lightning's name
        """Decide alone: all have the same metrics and so decide the same, but for when the first one leaves."""
        return decision
