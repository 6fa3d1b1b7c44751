"""What the server's tests share."""

from pathlib import Path

import pytest

from artifacts import tiny_artifact
from checkpoints import tiny_bert


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny artifact, which tests do not change."""
    place = tmp_path_factory.mktemp("tiny")
    return tiny_artifact(tiny_bert(place / "base"), place / "artifact")
