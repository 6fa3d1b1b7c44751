"""What a callback's settings are."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

from chirplet.config.schema import Settings

if TYPE_CHECKING:
    from pytorch_lightning import Callback

LAST = "last.ckpt"
INTERRUPTED = "interrupted.ckpt"
BEST = "best-"
"""Names of the files of checkpoints: the newest, that of an interrupted run, and how those of the best begin."""


class CallbackSettings(Settings, ABC):
    """Settings that build one Lightning callback."""

    @property
    def needs_validation(self) -> bool:
        """Whether the callback is of no use where nothing is validated (`stage.final=true`)."""
        return False

    @abstractmethod
    def build(self, folder: Path) -> "Callback":
        """The Lightning callback, writing to the checkpoints' `folder`; imports Lightning."""
