"""Making a plan from the sweeper's settings and the command line."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import CategoricalDistribution

from chirplet.artifact.record import COSTS
from chirplet.config.options import check_option, is_group
from chirplet.config.redaction import public
from chirplet.config.roles import Role, keys_with
from chirplet.metric.names import METRICS, known_metric, listed
from chirplet.sweep.plan.composing import Job, compose, without_hydra
from chirplet.sweep.plan.plan import Constraint, Direction, Plan, digest, natural_direction
from chirplet.sweep.plan.settings import SweepSettings
from chirplet.sweep.plan.space import (
    Space,
    as_override,
    category,
    checked_points,
    example,
    plain_key,
    space_function,
    split_overrides,
)
from chirplet.sweep.plan.storage import FROM_ENVIRONMENT, check_storage, has_password
from chirplet.sweep.plan.study import trials_possible
from chirplet.system.error import ConfigError, near

HYDRA_DEFAULT_DIR = "multirun/${now:%Y-%m-%d}/${now:%H-%M-%S}"
"""In Hydra's and chirplet's default sweep folder. It is new for each command: no sweep could be resumed in it."""

JOURNAL = "study.journal"

TEST_SWITCH = "stage.evaluate_test"
"""The key that makes a run evaluate the test split."""

SPLITS = ("val", "train")
"""Splits whose metrics can be objectives or constraints."""


@dataclass(frozen=True)
class _Goal:
    objectives: tuple[str, ...]
    directions: tuple[Direction, ...]
    constraints: tuple[Constraint, ...]


def make_plan(settings: SweepSettings, job: Job, arguments: Sequence[str]) -> Plan:
    """The plan of a sweep over `arguments`, the overrides of the command line.

    Raises:
        ConfigError: nothing is searched, a setting is not valid, or the overrides do not compose.
    """
    fixed, space = _searched(settings, job, arguments)
    _check_searched(settings, job, space)
    # Composing one example trial checks the configuration early and identifies the study.
    examples = [as_override(name, example(distribution)) for name, distribution in space.items()]
    base = without_hydra(compose(job, [*settings.trial_overrides, *fixed, *examples], Path.cwd(), "0"))
    goal = _goal(settings, base)
    _check_metrics(goal, base, settings.metrics is not None)
    _check_test_split(base, space)
    possible = None if settings.custom_search_space else trials_possible(settings.sampler, space)
    pinned = {plain_key(key) for key in settings.params or {}}
    plan = Plan(
        folder=Path(),
        study_name="",
        storage="",
        space=space,
        trial_overrides=tuple(settings.trial_overrides),
        fixed=tuple(fixed),
        config=_shared_config(base, space),
        objectives=goal.objectives,
        directions=goal.directions,
        from_record=settings.metrics is not None,
        constraints=goal.constraints,
        enqueue=tuple(checked_points(settings.enqueue, space, "hydra.sweeper.enqueue", pinned)),
        custom_search_space=settings.custom_search_space,
        sampler=settings.sampler,
        pruner=settings.pruner,
        n_trials=settings.n_trials if possible is None else min(possible, settings.n_trials),
        max_failure_rate=settings.max_failure_rate,
        lease_s=settings.lease_s,
        discard=tuple(settings.discard),
    )
    return _with_location(plan, settings, job.config)


def _searched(settings: SweepSettings, job: Job, arguments: Sequence[str]) -> tuple[list[str], Space]:
    parser = OverridesParser.create(config_loader=job.hydra_context.config_loader)
    # Text is the right side of an override; anything else is a value.
    params = [
        f"{key}={value}" if isinstance(value, str) else as_override(key, value)
        for key, value in (settings.params or {}).items()
    ]
    fixed, space = split_overrides(parser.parse_overrides([*params, *arguments]))
    if not space and settings.custom_search_space is None:
        raise ConfigError(
            "hydra.sweeper.params: nothing is searched; set KEY=interval(LOW, HIGH), KEY=choice(A, B), or search=NAME"
        )
    return fixed, space


def _check_searched(settings: SweepSettings, job: Job, space: Space) -> None:
    """Check that the searched options and the custom search space exist."""
    loader = job.hydra_context.config_loader
    for name, distribution in space.items():
        if isinstance(distribution, CategoricalDistribution) and is_group(loader, name):
            for choice in distribution.choices:
                value = category(choice)
                for option in value if isinstance(value, list) else [value]:
                    if option is not None:
                        check_option(loader, plain_key(name).partition("@")[0], str(option))
    if settings.custom_search_space is not None:
        space_function(settings.custom_search_space, "hydra.sweeper.custom_search_space")


def _goal(settings: SweepSettings, base: DictConfig) -> _Goal:
    if settings.metrics is None:
        objective = OmegaConf.select(base, "objective")
        names: tuple[str, ...] = (objective if isinstance(objective, str) else "value",)
    else:
        names = (settings.metrics,) if isinstance(settings.metrics, str) else tuple(settings.metrics)
    if settings.direction is None:
        directions: tuple[Direction, ...] = tuple(natural_direction(name) for name in names)
    else:
        directions = (settings.direction,) if isinstance(settings.direction, str) else tuple(settings.direction)
    if settings.metrics is None and len(directions) > 1:
        # Another application, whose runs return several numbers.
        names = tuple(f"value_{index}" for index in range(len(directions)))
    if len(directions) != len(names):
        raise ConfigError(
            f"hydra.sweeper.direction: got {len(directions)} directions for {len(names)} metrics ({', '.join(names)})"
        )
    constraints = tuple(
        Constraint.parse(text, f"hydra.sweeper.constraints[{index}]") for index, text in enumerate(settings.constraints)
    )
    return _Goal(names, directions, constraints)


def _check_metrics(goal: _Goal, base: DictConfig, from_record: bool) -> None:
    """Refuse metrics of the test split, and metrics that trials do not measure."""
    bounds = [constraint.metric for constraint in goal.constraints]
    for metric in (*(goal.objectives if from_record else ()), *bounds):
        if metric.startswith("test/"):
            raise ConfigError(f"hydra.sweeper: got {metric!r}, should not be a metric of the test split; use val/...")
        group, _, name = metric.partition("/")
        if not (known_metric(name) if group in SPLITS else group == "cost" and name in COSTS):
            costs = [f"cost/{cost}" for cost in COSTS]
            known = ", ".join([*map(listed, SPLITS), *costs])
            hint = near(metric, [*(f"{split}/{one}" for split in SPLITS for one in METRICS), *costs])
            raise ConfigError(f"hydra.sweeper: got {metric!r}, should be one of {known}{hint}")
        switch = {"cost": "stage.measure_cost", "train": "stage.evaluate_train"}.get(group)
        if switch is not None and OmegaConf.select(base, switch) is False:
            raise ConfigError(f"hydra.sweeper: got {metric!r}, which trials measure only with {switch}=true")


def _check_test_split(base: DictConfig, space: Space) -> None:
    """Refuse a search whose trials would evaluate the test split."""
    searched = TEST_SWITCH in map(plain_key, space)
    if searched or OmegaConf.select(base, TEST_SWITCH) is True:
        got = "is searched" if searched else "got true"
        raise ConfigError(
            f"{TEST_SWITCH}: {got}, should be false in a search; "
            "hydra.sweeper.refit=true evaluates the test split once, at the end"
        )


def _shared_config(base: DictConfig, space: Space) -> dict[str, Any]:
    """The configuration that all trials share, without searched keys, local paths and secrets."""
    plain = OmegaConf.to_container(base, resolve=False)
    assert isinstance(plain, dict)
    local = keys_with(Role.LOCAL)
    shared: dict[str, Any] = public({str(key): value for key, value in plain.items() if key not in local})
    for name in space:
        _drop(shared, plain_key(name).partition("@")[0].replace("/", ".").split("."))
    return shared


def _drop(node: Any, path: Sequence[str]) -> None:
    head, *rest = path
    if isinstance(node, dict) and head in node:
        if rest:
            _drop(node[head], rest)
        else:
            del node[head]


def _with_location(plan: Plan, settings: SweepSettings, config: DictConfig) -> Plan:
    """The plan with its name, folder and storage."""
    key = "hydra.sweeper.storage"
    name = settings.study_name
    if name is None:
        name = f"{config.hydra.runtime.choices.get('search') or 'sweep'}-{digest(plan.identity())}"
    raw = _raw(config.hydra)
    is_default = HYDRA_DEFAULT_DIR in str(raw["sweep"]["dir"])
    folder = Path("multirun", name) if is_default else Path(str(config.hydra.sweep.dir))
    folder = folder.expanduser().absolute()
    storage = str(folder / JOURNAL)
    if settings.storage is not None:
        check_storage(settings.storage, key)
        written = str(raw["sweeper"]["storage"])
        secret = "${oc.env:" in written
        # A password next to a reference to the environment would be logged too.
        if has_password(re.sub(r"\$\{[^}]*\}", FROM_ENVIRONMENT, written), key):
            raise ConfigError(
                f"{key}: contains a password, which would be logged; set {key}='${{oc.env:NAME}}' or PGPASSWORD"
            )
        # A reference to the environment is resolved in each worker, so that no launcher writes the value to a file.
        storage = written if secret else settings.storage
        if "://" not in storage and not secret:
            storage = str(Path(storage).expanduser().absolute())
    return replace(plan, study_name=name, folder=folder, storage=storage)


def _raw(node: DictConfig) -> Mapping[str, Any]:
    plain = OmegaConf.to_container(node, resolve=False)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}
