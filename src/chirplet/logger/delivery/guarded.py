"""A logger that cannot end a run: what its backend raises costs the logger, not the training."""

import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import Logger

from chirplet.config.schema import Foreign
from chirplet.logger.base import End, LoggerSettings, Results
from chirplet.system.error import first_line

log = logging.getLogger(__name__)
T = TypeVar("T")


class GuardedLogger(Logger):
    """Hands everything to `inner` until that raises; from then on it is left out, with one warning.

    Lightning ends loggers after every fit, but the stage goes on: until `close`, that only writes out what is held.
    """

    def __init__(self, key: str, settings: LoggerSettings | Foreign, inner: Logger) -> None:
        super().__init__()
        self.key = key
        self.settings = settings
        self.inner = inner
        self.lost = False

    @property
    def name(self) -> str | None:
        """As the inner logger's."""
        return self._guarded(lambda: self.inner.name, None)

    @property
    def version(self) -> str | int | None:
        """As the inner logger's."""
        return self._guarded(lambda: self.inner.version, None)

    @property
    def save_dir(self) -> str | None:
        """As the inner logger's."""
        return self._guarded(lambda: self.inner.save_dir, None)

    @property
    def root_dir(self) -> str | None:
        """As the inner logger's."""
        return self._guarded(lambda: self.inner.root_dir, None)

    @property
    def log_dir(self) -> str | None:
        """As the inner logger's."""
        return self._guarded(lambda: self.inner.log_dir, None)

    @property
    def experiment(self) -> Any:
        """The backend's own object, for callbacks that know it; it is not guarded."""
        return getattr(self.inner, "experiment", None)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Numbers at a step."""
        self._guarded(lambda: self.inner.log_metrics(dict(metrics), step), None)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """The configuration."""
        self._guarded(lambda: self.inner.log_hyperparams(params, *args, **kwargs), None)

    def log_graph(self, *args: Any, **kwargs: Any) -> None:
        """The model."""
        self._guarded(lambda: self.inner.log_graph(*args, **kwargs), None)

    def save(self) -> None:
        """Write out what is held."""
        self._guarded(self.inner.save, None)

    def after_save_checkpoint(self, checkpoint_callback: ModelCheckpoint) -> None:
        """A checkpoint was written."""
        self._guarded(lambda: self.inner.after_save_checkpoint(checkpoint_callback), None)

    def finalize(self, status: str) -> None:
        """Write out what is held; the run goes on until `close`."""
        self.save()

    def log_results(self, results: Results) -> None:
        """What the stage has found."""
        if results.scalars:
            self.log_metrics(results.scalars, results.step)
        settings = self.settings
        if isinstance(settings, LoggerSettings):
            self._guarded(lambda: settings.show(self.inner, results), None)

    def close(self, end: End) -> None:
        """End the logger's run."""
        settings = self.settings
        if isinstance(settings, LoggerSettings):
            self._guarded(lambda: settings.close(self.inner, end), None)
        else:
            self._guarded(lambda: self.inner.finalize(end.status), None)

    def _guarded(self, call: Callable[[], T], otherwise: T) -> T:
        if self.lost:
            return otherwise
        try:
            return call()
        except Exception as error:  # a tracker's trouble is of every kind, and none of the run's
            self.lost = True
            log.warning("logger.%s is lost (%s); the run continues without it", self.key, one_line(error))
            if isinstance(self.settings, LoggerSettings):
                with contextlib.suppress(Exception):
                    self.settings.abandon(self.inner)
            return otherwise


def one_line(error: BaseException) -> str:
    """The error's kind, and the first line of what it says."""
    kind, line = type(error).__name__, first_line(error)
    return kind if line == kind else f"{kind}: {line}"
