"""The interface of distillers."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from chirplet.config.schema import Positive, Settings
from chirplet.task.base import Task

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from chirplet.distiller.loss.losses import Imitation


class Distiller(Settings, ABC):
    """Settings of one distillation loss. `weight` is its weight in the sum of several."""

    looks_inside: ClassVar[bool] = False
    """Whether the loss compares layers token by token, which requires the same tokens in teacher and student."""

    weight: Positive

    def check(self, student: "PretrainedConfig", teacher: "PretrainedConfig") -> None:
        """Check that the loss can be between models of these configurations.

        Raises:
            ConfigError: it cannot; says what works instead.
        """

    @abstractmethod
    def imitation(self, task: Task, student: "PretrainedConfig", teacher: "PretrainedConfig | None") -> "Imitation":
        """The loss between models of these configurations, which `check` allows.

        `teacher` is None unless `looks_inside`.
        """
