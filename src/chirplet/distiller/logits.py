"""Imitate the teacher's logits: Hinton et al. 2015 (arXiv 1503.02531)."""

from typing import TYPE_CHECKING, Literal

from chirplet.config.schema import Positive
from chirplet.distiller.base import Distiller
from chirplet.task.base import Task

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from chirplet.distiller.loss.losses import Imitation


class Logits(Distiller):
    """`kl` is T² times the divergence of distributions softened by `temperature`; `mse` ignores `temperature`."""

    loss: Literal["kl", "mse"]
    temperature: Positive

    def imitation(self, task: Task, student: "PretrainedConfig", teacher: "PretrainedConfig | None") -> "Imitation":
        from chirplet.distiller.loss.losses import LogitImitation

        return LogitImitation(task, self.temperature if self.loss == "kl" else None)
