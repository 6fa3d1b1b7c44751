"""Checkpoints, and copies of them to damage."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from checkpoints import tiny_bert, tiny_bertweet, tiny_roberta

BUILDERS = {"bert": tiny_bert, "roberta": tiny_roberta, "bertweet": tiny_bertweet}


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One folder per architecture; not to be written to."""
    parent = tmp_path_factory.mktemp("checkpoints")
    return {name: build(parent / f"tiny_{name}") for name, build in BUILDERS.items()}


@pytest.fixture(params=BUILDERS)
def checkpoint(request: pytest.FixtureRequest, checkpoints: dict[str, Path]) -> Path:
    """Each architecture in turn; not to be written to."""
    return checkpoints[request.param]


@pytest.fixture
def copy_of(checkpoints: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """A fresh copy of a checkpoint, to change at will."""
    return lambda name: Path(shutil.copytree(checkpoints[name], tmp_path / f"copy_{name}"))
