"""Packages that are not always installed."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from chirplet.system.error import DependencyError

EXTRAS = {
    "train": (
        "torch",
        "pytorch_lightning",
        "transformers",
        "optuna",
        "matplotlib",
        "sklearn",
        "pyarrow",
        "onnx",
        "onnx_ir",
        "onnxscript",
        "torchmetrics",
        "jinja2",
        "psutil",
        "cmaes",
        "sentencepiece",
    ),
    "serve": ("starlette", "uvicorn", "httptools", "prometheus_client"),
}
"""The modules of the extras that stages need."""

PYARROW = "pyarrow"
INSTALL_PYARROW = "pip install pyarrow"


def install(extra: str) -> str:
    """The command that installs an extra."""
    return f'pip install "chirplet[{extra}]"'


def check_installed(extra: str, what: str) -> None:
    """Check that the modules of an extra can be found, without importing them.

    Raises:
        DependencyError: one cannot be found; `what` needs it.
    """
    missing = next((module for module in EXTRAS[extra] if find_spec(module) is None), None)
    if missing is not None:
        raise DependencyError(f"{what} needs {missing}, which is not installed; run: {install(extra)}")


@contextmanager
def needs(package: str, remedy: str) -> Iterator[None]:
    """A block that imports `package`; `remedy` is the command that installs it.

    Raises:
        DependencyError: the package cannot be imported.
    """
    try:
        yield
    except ImportError as error:
        raise DependencyError(f"{package} is needed but cannot be imported ({error}); run: {remedy}") from error
