"""What every distiller is: settings of one thing that a student imitates."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from chirplet.config.schema import Positive, Settings
from chirplet.task.base import Task

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from chirplet.distiller.loss.losses import Imitation


class Distiller(Settings, ABC):
    """Settings of one imitation; `weight` is its share where several are combined."""

    looks_inside: ClassVar[bool] = False
    """Whether it compares layers token by token, for which teacher and student must read the same tokens."""

    weight: Positive

    @abstractmethod
    def imitation(self, task: Task, student: "PretrainedConfig", teacher: "PretrainedConfig | None") -> "Imitation":
        """The loss between two models of these configurations; a teacher's is given where `looks_inside`.

        Raises:
            ConfigError: it cannot be between these two.
        """
