"""What all tests share: no network, a cache of their own, one way to compose the real configuration."""

import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hypothesis import HealthCheck, settings
from omegaconf import DictConfig

from chirplet.system.hardware import cpu_threads
from chirplet.system.progress import silence
from places import CONF
from remembered_choices import remember

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "offline"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
if isa := os.environ.get("ONEDNN_MAX_CPU_ISA"):
    # It limits the oneDNN of PyTorch and of OpenVINO. These limit OpenVINO itself, ATen, and FBGEMM.
    os.environ["OV_CPU_MAX_ISA"] = isa
    if isa == "AVX2":
        os.environ["ATEN_CPU_CAPABILITY"] = "avx2"
        os.environ["FBGEMM_ENABLE_INSTRUCTIONS"] = "AVX2"
if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers share the cores, and threads that wait for a core do so by turning.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

remember()
silence()  # so that what a command says does not depend on how fast it is

# Files need not outlive a power cut here, and the disk takes milliseconds each time. Commands in processes of their own
# flush to it.
os.fsync = lambda descriptor: None

# Shells ignore SIGINT in what a script puts in the background, and nohup ignores SIGHUP. Commands that tests send these
# signals would inherit it.
for number, handler in {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}.items():
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

# Examples are the same in every run, so that a change fails only for its own faults; the profile `explore` draws new
# ones. No test fails for taking long.
ANY_SPEED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("same", derandomize=True, **ANY_SPEED)
settings.register_profile("explore", **ANY_SPEED)
settings.load_profile("same")

with suppress(ImportError):
    # TensorBoard's logging closes the stream that it began with, pytest's own, when a trial of a sweep in this process,
    # whose output goes elsewhere, sets up logging.
    from absl import logging as absl_logging

    absl_logging.get_absl_handler().python_handler.stream = sys.__stderr__


def pytest_configure(config: pytest.Config) -> None:
    """Hide GPUs, in this process and in those that tests start, unless `-m` names `gpu`.

    What tests compare to the last digit, or know as numbers, is of the CPU: they mean the same on every machine.
    """
    if "gpu" not in config.option.markexpr:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic runs need it before the first product


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `-m gpu` import no file without such tests: others may need what a machine with a GPU lacks."""
    if config.option.markexpr != "gpu" or collection_path.suffix != ".py":
        return None
    return "pytest.mark.gpu" not in collection_path.read_text(encoding="utf-8") or None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest come first, so that no process has one left when the others are done."""
    long = ("test_kill.py", "stage/", "test_bad", "quantizer/", "sweep/", "runtime/", "test_secrets.py")
    items.sort(key=lambda item: not item.nodeid.removeprefix("tests/").startswith(long))
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if on_gpu and not _finds_gpu():
        for item in on_gpu:
            item.add_marker(pytest.mark.skip(reason="torch finds no CUDA GPU"))


def _finds_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def pytest_collection_finish() -> None:
    """What the imports brought is there to stay: no later collection is to walk over it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def audible(caplog: pytest.LogCaptureFixture) -> None:
    """Let no test be deaf to warnings because of one before it: several libraries set up logging for everybody."""
    # A level that is set makes all loggers forget what they know of theirs, which takes long for every test.
    if logging.root.manager.disable:
        logging.disable(logging.NOTSET)
    # pytest lends its handler to NNCF's logger, which sets the level of all that it has.
    caplog.handler.setLevel(logging.NOTSET)
    logging.getLogger().setLevel(logging.WARNING)
    for name, logger in logging.root.manager.loggerDict.items():
        if name.partition(".")[0] == "chirplet" and isinstance(logger, logging.Logger):
            logger.disabled, logger.propagate = False, True
            if logger.level:
                logger.setLevel(logging.NOTSET)


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    """Give PyTorch the threads back that it had: more than there are cores free for make it many times as slow."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(cpu_threads(None))


@pytest.fixture(scope="module")
def short_probes() -> Iterator[None]:
    """Artifacts get a probe of the fewest texts, where no probe is tested: its logits take longer than training."""
    from chirplet.runtime.probe import OPENING
    from chirplet.stage.output import make_probe

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(make_probe, "TEXTS", make_probe.TEXTS[: 1 + max(map(max, OPENING))])
        yield


@pytest.fixture
def costs_here() -> Iterator[None]:
    """Saved models are run and timed in this process: where it is not a process of their own that is tested."""
    from isolated import here

    with here():
        yield


@pytest.fixture(scope="session")
def compose_config() -> Callable[..., DictConfig]:
    """Compose `conf/config.yaml` with overrides, as `run.py` does; with `stage=finetune` where they name no stage."""

    def composed(*overrides: str) -> DictConfig:
        named = any(override.startswith("stage=") and "{" not in override for override in overrides)
        with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
            return compose("config", overrides=[*([] if named else ["stage=finetune"]), *overrides])

    return composed
