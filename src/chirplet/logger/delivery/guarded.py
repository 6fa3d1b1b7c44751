"""A logger whose errors do not end a run."""

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
    """Forwards all calls to `inner` until it raises; then logs one warning and ignores further calls.

    Lightning finalizes loggers after every fit, while the stage continues. So `finalize` only saves buffered data, and
    `close` ends the logger's run.
    """

    def __init__(self, key: str, settings: LoggerSettings | Foreign, inner: Logger) -> None:
        super().__init__()
        self.key = key
        self.settings = settings
        self.inner = inner
        self.lost = False

    @property
    def name(self) -> str | None:
        """That of the inner logger."""
        return self._guarded(lambda: self.inner.name, None)

    @property
    def version(self) -> str | int | None:
        """That of the inner logger."""
        return self._guarded(lambda: self.inner.version, None)

    @property
    def save_dir(self) -> str | None:
        """That of the inner logger."""
        return self._guarded(lambda: self.inner.save_dir, None)

    @property
    def root_dir(self) -> str | None:
        """That of the inner logger."""
        return self._guarded(lambda: self.inner.root_dir, None)

    @property
    def log_dir(self) -> str | None:
        """That of the inner logger."""
        return self._guarded(lambda: self.inner.log_dir, None)

    @property
    def experiment(self) -> Any:
        """The backend's object, for callbacks that use it; it is not guarded."""
        return getattr(self.inner, "experiment", None)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers at a step."""
        self._guarded(lambda: self.inner.log_metrics(dict(metrics), step), None)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Log the configuration."""
        self._guarded(lambda: self.inner.log_hyperparams(params, *args, **kwargs), None)

    def log_graph(self, *args: Any, **kwargs: Any) -> None:
        """Log the model."""
        self._guarded(lambda: self.inner.log_graph(*args, **kwargs), None)

    def save(self) -> None:
        """Write buffered data."""
        self._guarded(self.inner.save, None)

    def after_save_checkpoint(self, checkpoint_callback: ModelCheckpoint) -> None:
        """Report that a checkpoint was written."""
        self._guarded(lambda: self.inner.after_save_checkpoint(checkpoint_callback), None)

    def finalize(self, status: str) -> None:
        """Write buffered data; the logger's run stays open until `close`."""
        self.save()

    def log_results(self, results: Results) -> None:
        """Log the results of the stage."""
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

    def _guarded(self, call: Callable[[], T], default: T) -> T:
        if self.lost:
            return default
        try:
            return call()
        except Exception as error:  # trackers raise many classes, and none may end the run
            self.lost = True
            log.warning("logger.%s failed (%s); the run continues without it", self.key, one_line(error))
            if isinstance(self.settings, LoggerSettings):
                with contextlib.suppress(Exception):
                    self.settings.abandon(self.inner)
            return default


def one_line(error: BaseException) -> str:
    """The error's class and the first line of its message."""
    kind, line = type(error).__name__, first_line(error)
    return kind if line == kind else f"{kind}: {line}"
