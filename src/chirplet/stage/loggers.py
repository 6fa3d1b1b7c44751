"""Loggers that are always closed, with the right status."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from pytorch_lightning.loggers import Logger

from chirplet.config import Foreign
from chirplet.logger.base import LoggerSettings
from chirplet.stage.base import Run


@contextmanager
def open_loggers(run: Run) -> Iterator[list[Logger]]:
    """The run's loggers, told the configuration at the start and closed at the end, each also after a failure."""
    with ExitStack() as stack:
        loggers = [stack.enter_context(_open(settings, run)) for settings in run.loggers.values()]
        for logger in loggers:
            logger.log_hyperparams(run.config)
        yield loggers


@contextmanager
def _open(settings: LoggerSettings | Foreign, run: Run) -> Iterator[Logger]:
    logger: Logger = settings.build(Logger) if isinstance(settings, Foreign) else settings.build(run.output_dir)
    succeeded = False
    try:
        yield logger
        succeeded = True
    finally:
        if isinstance(settings, Foreign):
            logger.finalize("success" if succeeded else "failed")
        else:
            settings.close(logger, succeeded)
