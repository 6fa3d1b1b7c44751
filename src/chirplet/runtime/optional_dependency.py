"""Imports of optional packages."""

from collections.abc import Iterator
from contextlib import contextmanager

from chirplet.system.error import ModelError


@contextmanager
def needs(package: str, remedy: str) -> Iterator[None]:
    """A block that imports `package`; `remedy` is the command that installs it.

    Raises:
        ModelError: the package cannot be imported.
    """
    try:
        yield
    except ImportError as error:
        raise ModelError(f"{package} is needed but cannot be imported ({error}); run: {remedy}") from error
