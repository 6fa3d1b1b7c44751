"""The versions a run used: Python, libraries, and chirplet's commit."""

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = ("chirplet", "torch", "transformers", "tokenizers", "pytorch-lightning", "torchmetrics", "numpy")


@cache
def versions() -> dict[str, str]:
    """Versions of Python and the libraries, and chirplet's commit if it runs from a checkout."""
    installed = {"python": platform.python_version()}
    commit = _commit()
    if commit is not None:
        installed["commit"] = commit
    for library in LIBRARIES:
        try:
            installed[library] = version(library)
        except PackageNotFoundError:
            installed[library] = "not installed"
    return installed


def _commit() -> str | None:
    """The checkout's commit, with `+` if files were changed; None for an installed chirplet."""
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    tracked = done.returncode == 0 and "site-packages" not in here.parts
    return done.stdout.strip() if tracked else None
