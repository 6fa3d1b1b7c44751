"""Metrics for Weights & Biases."""

import logging
import netrc
import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from chirplet.error import ConfigError
from chirplet.logger.base import LoggerSettings

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger

log = logging.getLogger(__name__)


class WandbSettings(LoggerSettings):
    """A W&B run. The key comes from the environment (`WANDB_API_KEY`) or `wandb login`, never from the configuration.

    Without a key, or with `WANDB_MODE=offline`, the run stays on this machine, to be sent later with `wandb sync`.
    """

    project: str
    name: str | None
    group: str | None
    tags: list[str]

    def build(self, output_dir: Path) -> "Logger":
        """Lightning's W&B logger, writing below `output_dir`.

        Raises:
            ConfigError: wandb is not installed.
        """
        if find_spec("wandb") is None:
            raise ConfigError("logger.wandb: wandb is not installed; pip install 'chirplet[wandb]'")
        from pytorch_lightning.loggers import WandbLogger

        mode = os.environ.get("WANDB_MODE")
        if mode is None and not has_key():
            mode = "offline"
            log.warning("no W&B key (WANDB_API_KEY, or `wandb login`): the run is kept in %s/wandb", output_dir)
        return WandbLogger(
            project=self.project,
            name=self.name,
            group=self.group,
            tags=self.tags,
            save_dir=str(output_dir),
            mode=mode,
        )

    def close(self, logger: "Logger", succeeded: bool) -> None:
        """End the W&B run too, which Lightning leaves open."""
        super().close(logger, succeeded)
        logger.experiment.finish(exit_code=0 if succeeded else 1)  # type: ignore[attr-defined]


def has_key() -> bool:
    """Whether W&B would find a key: in the environment, or where `wandb login` puts it."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        return netrc.netrc(path).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
