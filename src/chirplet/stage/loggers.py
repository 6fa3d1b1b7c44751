"""Loggers that are always closed, with the right status."""

from collections.abc import Iterator
from contextlib import contextmanager

from pytorch_lightning.loggers import Logger

from chirplet.config import Foreign
from chirplet.stage.base import Run


@contextmanager
def open_loggers(run: Run) -> Iterator[list[Logger]]:
    """The run's loggers, told the configuration at the start and finalised at the end, also after a failure."""
    loggers: list[Logger] = []
    status = "failed"
    try:
        for settings in run.loggers.values():
            built = settings.build() if isinstance(settings, Foreign) else settings.build(run.output_dir)
            loggers.append(built)
        for logger in loggers:
            logger.log_hyperparams(run.config)
        yield loggers
        status = "success"
    finally:
        for logger in loggers:
            logger.finalize(status)
