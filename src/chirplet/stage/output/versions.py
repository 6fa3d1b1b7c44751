"""What a run was carried out with: Python, libraries, and the commit of chirplet itself."""

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = ("chirplet", "torch", "transformers", "tokenizers", "pytorch-lightning", "torchmetrics", "numpy")


@cache
def versions() -> dict[str, str]:
    """Python, the libraries, and chirplet's own commit in a checkout."""
    found = {"python": platform.python_version()}
    commit = _commit()
    if commit is not None:
        found["commit"] = commit
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            found[library] = "not installed"
    return found


def _commit() -> str | None:
    """The commit of the checkout that chirplet runs from, `+` where files differ from it; None for an installed one."""
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    tracked = done.returncode == 0 and "site-packages" not in here.parts
    return done.stdout.strip() if tracked else None
