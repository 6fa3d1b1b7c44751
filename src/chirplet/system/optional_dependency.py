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
    "openvino": ("openvino", "nncf"),
    "mlflow": ("mlflow",),
    "tensorboard": ("tensorboard",),
    "wandb": ("wandb",),
    "excel": ("python_calamine",),
}
"""The modules of the extras that parts of a run need."""

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
    for module in EXTRAS[extra]:
        check_package(module, what, install(extra))


def check_package(package: str, what: str, remedy: str) -> None:
    """Check that a package can be found, without importing it; `remedy` is the command that installs it.

    Raises:
        DependencyError: it cannot be found; `what` needs it.
    """
    if find_spec(package) is None:
        raise DependencyError(f"{what} needs {package}, which is not installed; run: {remedy}")


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
