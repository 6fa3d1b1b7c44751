"""Creating or opening the study of a plan, with its sampler and pruner."""

import hashlib
import inspect
import math
import warnings
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, BruteForceSampler, GridSampler, QMCSampler, RandomSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from chirplet.config.schema import Foreign
from chirplet.sweep.plan.plan import Plan, differences
from chirplet.sweep.plan.space import Space
from chirplet.sweep.plan.storage import Lock
from chirplet.system.error import ConfigError

IDENTITY = "chirplet"
"""User attribute of the study: the identity of its sweep."""

SAME_SEED = (GridSampler, QMCSampler)
"""Samplers that follow one sequence, fixed by the seed; the trial's number is the index in it."""

EXHAUSTIBLE = (GridSampler, BruteForceSampler)


class SweepStudy(optuna.Study):
    """A study used through `ask` and `tell`. The sweep decides when it ends."""

    def stop(self) -> None:
        """Do nothing: exhausted samplers call this, which Optuna allows only within `optimize`."""


def open_study(plan: Plan, storage: BaseStorage, lock: Lock) -> SweepStudy:
    """Open the plan's study, or create it.

    Raises:
        ConfigError: the study of that name belongs to another sweep, or the sampler or pruner cannot be built.
    """
    pruner = make_pruner(plan.pruner)
    sampler = Samplers(plan.sampler, plan.space, len(plan.directions)).for_trial(0)
    identity = plan.identity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with lock("claim"):
        names = {study.study_name for study in storage.get_all_studies()}
        if plan.study_name not in names:
            created = optuna.create_study(storage=storage, study_name=plan.study_name, directions=list(plan.directions))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                created.set_metric_names(list(plan.objectives))
            created.set_user_attr(IDENTITY, identity)
        study = SweepStudy(plan.study_name, storage, sampler=sampler, pruner=pruner)
        before = study.user_attrs.get(IDENTITY)
        if before is None:
            directions = tuple(direction.name.lower() for direction in study.directions)
            if directions != plan.directions:
                raise ConfigError(
                    f"hydra.sweeper.study_name: a study {plan.study_name!r} exists with the directions "
                    f"{', '.join(directions)}; choose another name"
                )
            study.set_user_attr(IDENTITY, identity)  # its creation was interrupted before this write
            return study
    differing = differences(before, identity)
    if differing:
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise ConfigError(
            f"hydra.sweeper.study_name: a study {plan.study_name!r} of another sweep exists "
            f"({'; '.join(differing[:3])}{more}); choose another name"
        )
    return study


class Samplers:
    """Samplers whose draws depend on the trial's number, not on the process or on earlier draws."""

    def __init__(self, target: Foreign, space: Space, objectives: int) -> None:
        sampler = target.kind(BaseSampler)
        accepted = inspect.signature(sampler).parameters
        arguments = dict(target.arguments)
        if issubclass(sampler, GridSampler) and arguments.get("search_space") is None:
            arguments["search_space"] = grid(space)
        self.seed = arguments.pop("seed", None)
        self.seeded = "seed" in accepted and self.seed is not None
        self.fixed = issubclass(sampler, SAME_SEED)
        self.aside = issubclass(sampler, QMCSampler) and "independent_sampler" not in arguments
        self.target = Foreign(target=target.target, arguments=arguments, key=target.key)

    def for_trial(self, number: int) -> BaseSampler:
        """The sampler of one trial.

        Raises:
            ConfigError: it rejects its arguments.
        """
        return TrialSampler(self, number) if self.seeded else self.build(number)

    def build(self, number: int, parameter: str = "") -> BaseSampler:
        """Optuna's sampler, for one trial or one of its parameters."""
        arguments = dict(self.target.arguments)
        if self.seeded:
            mixed = _mixed_seed(self.seed, number, parameter)
            arguments["seed"] = self.seed if self.fixed else mixed
            if self.aside:
                # Parameters outside the sequence would be drawn with its seed, equal for all trials.
                arguments["independent_sampler"] = RandomSampler(seed=mixed)
        sampler = _build(self.target, arguments)
        assert isinstance(sampler, BaseSampler)
        if isinstance(sampler, QMCSampler):
            # Optuna counts every drawn point, also those of interrupted trials; its first trial is random.
            sampler._find_sample_id = lambda *_: max(0, number - 1)  # type: ignore[method-assign]
        return sampler


class TrialSampler(BaseSampler):
    """The sampler of one trial. Its draws depend only on the seed, the trial's number and the parameter's name.

    So an interrupted sweep resumes with the same values.
    """

    def __init__(self, samplers: Samplers, number: int) -> None:
        self.samplers = samplers
        self.number = number
        self.sampler = samplers.build(number)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> Space:
        """The parameters that are sampled jointly."""
        return self.sampler.infer_relative_search_space(study, trial)

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: Space) -> dict[str, Any]:
        """Sample those parameters."""
        return self.sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Sample one other parameter."""
        sampler = self.samplers.build(self.number, param_name)
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Delegate to Optuna's sampler."""
        self.sampler.before_trial(study, trial)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Delegate to Optuna's sampler."""
        self.sampler.after_trial(study, trial, state, values)


def make_pruner(target: Foreign) -> BasePruner:
    """Build the pruner, including a nested one (as in PatientPruner).

    Raises:
        ConfigError: it is not a pruner, or rejects its arguments.
    """
    target.kind(BasePruner)
    arguments = {
        name: make_pruner(part) if isinstance(part, Foreign) else part for name, part in target.arguments.items()
    }
    pruner = _build(target, arguments)
    assert isinstance(pruner, BasePruner)
    return pruner


def trials_possible(target: Foreign, space: Space) -> int | None:
    """The number of points that an exhaustive sampler tries, or None for other samplers.

    Raises:
        ConfigError: a parameter has infinitely many values.
    """
    if not issubclass(target.kind(BaseSampler), EXHAUSTIBLE):
        return None
    search_space = target.arguments.get("search_space")
    if search_space is not None:
        return math.prod(len(values) for values in search_space.values())
    return math.prod(len(_values(name, distribution)) for name, distribution in space.items())


def grid(space: Space) -> dict[str, list[Any]]:
    """Every value of every parameter.

    Raises:
        ConfigError: a parameter has infinitely many values.
    """
    return {name: list(_values(name, distribution)) for name, distribution in space.items()}


def _values(name: str, distribution: BaseDistribution) -> Sequence[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    if isinstance(distribution, IntDistribution):
        return range(distribution.low, distribution.high + 1, distribution.step)
    assert isinstance(distribution, FloatDistribution)
    if distribution.step is None:
        raise ConfigError(
            f"{name}: got an interval, should have finitely many values for this sampler; use choice(...) or range(...)"
        )
    low, step = Decimal(str(distribution.low)), Decimal(str(distribution.step))
    count = round((distribution.high - distribution.low) / distribution.step) + 1
    return [float(low + index * step) for index in range(count)]


def _build(target: Foreign, arguments: dict[str, Any]) -> Any:
    try:
        with warnings.catch_warnings():
            # The user chose this class, so its experimental status needs no warning.
            warnings.simplefilter("ignore", ExperimentalWarning)
            return Foreign(target=target.target, arguments=arguments, key=target.key).build()
    except (ValueError, TypeError, ImportError) as error:
        raise ConfigError(f"{target.key}: {' '.join(str(error).split())}") from error


def _mixed_seed(seed: int, number: int, parameter: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}/{parameter}".encode()).digest()[:4])
