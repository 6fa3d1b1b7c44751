"""Runtimes that may not be installed."""

from collections.abc import Iterator
from contextlib import contextmanager

from chirplet.system.error import ModelError


@contextmanager
def needs(package: str, remedy: str) -> Iterator[None]:
    """Import `package` in this block; where that fails, one line says how to install it.

    Raises:
        ModelError: it is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise ModelError(f"{package} is needed and cannot be imported ({error}); {remedy} installs it") from error
