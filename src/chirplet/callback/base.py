"""Base class of callback settings."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

from chirplet.config.schema import Settings

if TYPE_CHECKING:
    from pytorch_lightning import Callback

LAST = "last.ckpt"
INTERRUPTED = "interrupted.ckpt"
BEST = "best-"
"""Names of checkpoint files: the newest, that of an interrupted run, and the prefix of the best ones."""


class CallbackSettings(Settings, ABC):
    """Settings that build one Lightning callback."""

    @property
    def needs_validation(self) -> bool:
        """Whether the callback requires validation, which `stage.final=true` turns off."""
        return False

    @abstractmethod
    def build(self, folder: Path) -> "Callback":
        """Build the Lightning callback, which writes to the `folder` of checkpoints; imports Lightning."""
