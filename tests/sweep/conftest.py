"""A real database server, storages of each kind, plans, and processes that can be killed."""

import copy
import dataclasses
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import setup_globals
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from chirplet.config.schema import Foreign, bind, validate
from chirplet.sweep.plan.plan import Plan
from chirplet.sweep.plan.planning import make_plan as plan_of
from chirplet.sweep.plan.settings import SweepSettings
from forked import FORKED
from places import CONF

STORAGES = ("journal", "sqlite", "postgresql")
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""A folder in memory, since most of a storage's time is spent on syncing to the disk."""
SPACE = {
    "x": FloatDistribution(0.0, 1.0),
    "n": IntDistribution(1, 9),
    "c": CategoricalDistribution(["a", "b", 3]),
}
NUMBERS = count()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a PostgreSQL server for this session, without a database."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    programs_folder = programs[-1] if programs else Path(shutil.which("initdb") or "").parent
    if not (programs_folder / "initdb").is_file():
        pytest.skip("no PostgreSQL server is installed (apt-get install postgresql)")
    if find_spec("psycopg") is None:
        pytest.skip("psycopg is not installed (pip install 'psycopg[binary]')")
    folder = Path(tempfile.mkdtemp(prefix="chirplet-postgresql-", dir=MEMORY))
    # The server refuses root.
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if user:
        shutil.chown(folder, "postgres", "postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = str(folder / "data")
    options = f"-h 127.0.0.1 -p {port} -k {folder} -F -c max_connections=60"

    def run(*command: str) -> None:
        with (folder / "output.log").open("ab") as output:
            done = subprocess.run([*user, *command], cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        assert done.returncode == 0, (folder / "output.log").read_text()

    try:
        run(
            str(programs_folder / "initdb"),
            "-D",
            data,
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-locale",
            "-N",
        )
        run(str(programs_folder / "pg_ctl"), "-D", data, "-o", options, "-l", str(folder / "server.log"), "-w", "start")
        try:
            yield f"postgresql://postgres@127.0.0.1:{port}"
        finally:
            run(str(programs_folder / "pg_ctl"), "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def memory() -> Iterator[Path]:
    """A folder for files that are written often."""
    with tempfile.TemporaryDirectory(prefix="chirplet-test-", dir=MEMORY) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def new_storage(request: pytest.FixtureRequest, memory: Path) -> Callable[[str], str]:
    """A new, empty storage of a kind: its path or URL."""

    def new(kind: str) -> str:
        number = next(NUMBERS)
        if kind == "journal":
            return str(memory / f"study_{number}.journal")
        if kind == "sqlite":
            return f"sqlite:///{memory}/study_{number}.db"
        import psycopg

        server = request.getfixturevalue("postgresql")
        with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE study_{number} STRATEGY file_copy")
        return f"{server}/study_{number}"

    return new


@pytest.fixture(params=STORAGES)
def storage(request: pytest.FixtureRequest, new_storage: Callable[[str], str]) -> str:
    """A new storage of each kind; the tests with this fixture are the contract of storages."""
    return new_storage(request.param)


@pytest.fixture(scope="session", params=STORAGES)
def used_storage(request: pytest.FixtureRequest, new_storage: Callable[[str], str]) -> str:
    """A storage of each kind that already contains other studies, which opens much faster."""
    return new_storage(request.param)


@pytest.fixture
def make_plan(memory: Path) -> Callable[..., Plan]:
    """Plan a sweep over `x`, `n` and `c` with ten random trials in a journal; arguments change the plan."""

    def made(sampler: str | Foreign = "RandomSampler", pruner: Foreign | None = None, **changes: Any) -> Plan:
        if isinstance(sampler, str):
            sampler = foreign(f"optuna.samplers.{sampler}", seed=1)
        known = {
            "folder": memory,
            "study_name": f"study {next(NUMBERS)}",
            "storage": str(memory / f"study_{next(NUMBERS)}.journal"),
            "space": SPACE,
            "trial_overrides": (),
            "fixed": (),
            "config": {"seed": 1},
            "objectives": ("val/f1_macro",),
            "directions": ("maximize",),
            "from_record": True,
            "constraints": (),
            "enqueue": (),
            "sampler": sampler,
            "pruner": foreign("optuna.pruners.NopPruner") if pruner is None else pruner,
            "n_trials": 10,
            "max_failure_rate": 0.5,
            "lease_s": 60.0,
            "discard": (),
        }
        return Plan(**{field.name: None for field in dataclasses.fields(Plan)} | known | changes)

    return made


def foreign(target: str, **arguments: Any) -> Foreign:
    return Foreign(target=target, arguments=arguments, key="hydra.sweeper.part")


@pytest.fixture(name="foreign")
def foreign_fixture() -> Callable[..., Foreign]:
    """An Optuna class with its arguments."""
    return foreign


class Remembering:
    """Hydra's config loader with a cache, since each composition takes a third of a second."""

    def __init__(self, loader: ConfigLoader, overrides: Sequence[str]) -> None:
        self.loader = loader
        self.config = loader.load_configuration("config", overrides=list(overrides), run_mode=RunMode.MULTIRUN)
        self.composed: dict[tuple[str, ...], DictConfig] = {}

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """Compose a run; cached configurations differ only in their output folder."""
        key = tuple(text for text in sweep_overrides if not text.startswith("hydra.sweep."))
        if key not in self.composed:
            self.composed[key] = self.loader.load_sweep_config(master_config, sweep_overrides)
        return updated(self.composed[key], [text for text in sweep_overrides if text.startswith("hydra.sweep.")])

    @cache  # noqa: B019  # lives as long as the session anyway
    def get_group_options(self, group: str, **filters: Any) -> list[str]:
        """The names of a group's files, which no test changes."""
        return self.loader.get_group_options(group, **filters)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)


def updated(config: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """A copy in which keys of `hydra` are overridden."""
    # Not by pickle, although that is faster: Hydra imports plugins again, so pickle does not find their classes.
    changed = copy.deepcopy(config)
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        OmegaConf.update(changed, override.key_or_group, override.value(), force_add=True)
    return changed


@pytest.fixture(scope="session")
def loader_of() -> Callable[..., Remembering]:
    """The config loader for these groups, and the configuration that Hydra passes to a sweeper for them."""

    @cache
    def made(*groups: str) -> Remembering:
        with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
            setup_globals()
            return Remembering(GlobalHydra.instance().config_loader(), groups)

    return made


@pytest.fixture
def planned(loader_of: Callable[..., Remembering]) -> Callable[..., Plan]:
    """Plan the sweep of a command line with the real configuration; `stage=finetune` unless a search is selected."""

    def made(*overrides: str) -> Plan:
        loader = loader_of(*(text for text in overrides if text.startswith(("hydra/", "search="))))
        config = updated(loader.config, [text for text in overrides if text.startswith("hydra.")])
        context = HydraContext(config_loader=loader, callbacks=Callbacks())
        sweeper = Plugins.instance().instantiate_sweeper(config=config, hydra_context=context, task_function=len)
        settings = validate(SweepSettings, bind(sweeper.settings, "hydra.sweeper"), "hydra.sweeper")
        stage = [] if any(text.startswith("search=") for text in overrides) else ["stage=finetune"]
        return plan_of(settings, sweeper.job, [*stage, *(text for text in overrides if not text.startswith("hydra"))])

    return made


class _Sent:
    """A function for a new process, which cannot import the module of the test."""

    def __init__(self, function: Callable[..., Any]) -> None:
        cloudpickle.register_pickle_by_value(sys.modules[function.__module__])
        self.payload = cloudpickle.dumps(function)

    def __reduce__(self) -> Any:
        return cloudpickle.loads, (self.payload,)


@pytest.fixture
def start() -> Iterator[Callable[..., Any]]:
    """Run a function in a new process, forked from one without locks or connections; the test's end kills it."""
    started = []

    def run(function: Callable[..., Any], *arguments: Any) -> Any:
        process = FORKED.Process(target=_Sent(function), args=arguments)
        process.start()
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.join()
