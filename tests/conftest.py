"""What all tests share: no network, a cache of their own, one way to compose the real configuration."""

import os
from collections.abc import Callable

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from places import CONF

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "offline"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers share the cores, and threads that wait for a core do so by turning.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

WITH_NNCF = ("tests/quantizer/", "tests/runtime/", "tests/stage/test_quantize.py", "tests/test_predictor.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that import NNCF come last: it changes logging for the whole process, and what a sweep's workers do to
    standard output after that closes pytest's own files."""
    items.sort(key=lambda item: item.nodeid.startswith(WITH_NNCF))


@pytest.fixture(scope="session")
def compose_config() -> Callable[..., DictConfig]:
    """Compose `conf/config.yaml` with overrides, as `run.py` does; with `stage=finetune` where they name no stage."""

    def composed(*overrides: str) -> DictConfig:
        named = any(override.startswith("stage=") and "{" not in override for override in overrides)
        with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
            return compose("config", overrides=[*([] if named else ["stage=finetune"]), *overrides])

    return composed
