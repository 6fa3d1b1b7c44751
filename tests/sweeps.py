"""Sweeps of the toy application in `sweep/toy`: as commands, and in this process where a command would be too slow."""

import csv
import importlib
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.singleton import Singleton
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf
from optuna import Study, load_study
from optuna.trial import FrozenTrial

from chirplet.config.schema import bind, validate
from chirplet.sweep.plan.composing import Job
from chirplet.sweep.plan.settings import SweepSettings
from chirplet.sweep.plan.storage import open_storage
from chirplet.system.command_line import override_of
from hydra_plugins.chirplet_sweeper.sweeper import check
from places import CONF, ROOT

APP = Path(__file__).parent / "sweep" / "toy" / "app.py"
SEARCH = ["x=interval(0,1)", "y=choice(1,2)", "hydra.sweeper.direction=minimize"]
"""The best value is 1, at x = 0.3 and y = 1."""
SUITE_S = 240
"""The suite's own timeout, which does not reach threads that wait for a command."""


def settings(folder: Path, *overrides: str) -> list[str]:
    """Overrides for a sweep of the toy application that writes to `folder`; study `toy`."""
    return [
        "hydra/sweeper=optuna",
        *SEARCH,
        override_of("hydra.sweep.dir", folder),
        "hydra.sweeper.study_name=toy",
        "hydra.sweeper.figures=false",
        "hydra.sweeper.trial_overrides=[]",  # the default one is chirplet's own
        *overrides,
    ]


def command(folder: Path, *overrides: str) -> list[str]:
    """Such a sweep as a command."""
    return [sys.executable, str(APP), "-m", "--config-dir", str(CONF), *settings(folder, *overrides)]


def sweep(
    folder: Path, *overrides: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run such a command to its end."""
    return subprocess.run(
        command(folder, *overrides), cwd=ROOT, env=environment, capture_output=True, text=True, timeout=SUITE_S
    )


def here(folder: Path, *overrides: str, isolate: bool = False) -> Any:
    """Run such a sweep from this process, its trials in this process too unless `isolate`; gives what it returns."""
    if str(APP.parent) not in sys.path:
        sys.path.insert(0, str(APP.parent))
    application = importlib.import_module("app").run
    last = [f"hydra.searchpath=[file://{CONF}]", f"hydra.sweeper.isolate={str(isolate).lower()}"]
    with _restored(), initialize_config_dir(config_dir=str(APP.parent / "conf"), version_base="1.3", job_name="app"):
        return GlobalHydra.instance().hydra.multirun(
            "config", application, [*settings(folder, *overrides), *last], with_log_configuration=False
        )


def study(folder: Path) -> Study:
    """The study that a sweep without `storage` has left."""
    storage, _ = open_storage(str(folder / "study.journal"))
    return load_study(study_name="toy", storage=storage)


def facts(trials: list[FrozenTrial]) -> list[tuple[Any, ...]]:
    """What two sweeps must have in common to be the same."""
    return [(trial.number, trial.state, trial.params, trial.values, trial.intermediate_values) for trial in trials]


def table(folder: Path, name: str = "trials.csv") -> list[dict[str, str]]:
    """The rows of a table that a sweep has written."""
    with (folder / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def workers(process: "psutil.Process | psutil.Popen") -> list[psutil.Process]:
    """The processes in which a command runs its trials."""
    found = []
    # Any of them may end while it is looked at.
    with suppress(psutil.NoSuchProcess):
        for child in process.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                found += [child] if "chirplet.sweep.trial.process" in child.cmdline() else []
    return found


def gone(process: psutil.Process) -> bool:
    """Whether a process has ended, although nobody may have asked for its exit code yet."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for `condition`, however slow the machine is; what never comes ends with the suite's timeout."""
    while not condition():
        time.sleep(0.01)


@contextmanager
def _restored() -> Iterator[None]:
    """Put Hydra's singletons and the root logger back afterwards: a sweep has them as a process of its own would."""
    state, root = Singleton.get_state(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        Singleton.set_state(state)
        root.handlers[:] = handlers
        root.setLevel(level)


@contextmanager
def composed(*overrides: str) -> Iterator[Job]:
    """The real configuration as a sweep is given it, Hydra's own part included."""
    state = Singleton.get_state()
    try:
        with initialize_config_dir(config_dir=str(CONF), version_base="1.3", job_name="run"):
            hydra = GlobalHydra.instance().hydra
            config = hydra.compose_config("config", list(overrides), RunMode.MULTIRUN, with_log_configuration=False)
            yield Job(HydraContext(hydra.config_loader, Callbacks()), lambda cfg: None, config, check)
    finally:
        Singleton.set_state(state)


def sweeper_settings(config: DictConfig) -> SweepSettings:
    plain = OmegaConf.to_container(config.hydra.sweeper, resolve=True)
    assert plain.pop("_target_") == "hydra_plugins.chirplet_sweeper.sweeper.OptunaSweeper"
    del plain["_recursive_"], plain["_convert_"]
    return validate(SweepSettings, bind(plain, "hydra.sweeper"), "hydra.sweeper")
