"""What a callback's settings are."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from chirplet.config import Settings

if TYPE_CHECKING:
    from pytorch_lightning import Callback


class CallbackSettings(Settings, ABC):
    """Settings that build one Lightning callback."""

    @abstractmethod
    def build(self) -> "Callback":
        """The Lightning callback; imports Lightning."""
