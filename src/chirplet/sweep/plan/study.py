"""The study of a plan: made or opened, with its sampler and pruner."""

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
"""The study's user attribute that tells which sweep it belongs to."""

SAME_SEED = (GridSampler, QMCSampler)
"""Samplers that walk through one sequence, fixed by the seed, and take the trial's number as the place in it."""

EXHAUSTIBLE = (GridSampler, BruteForceSampler)


class SweepStudy(optuna.Study):
    """A study that is asked and told: the end is the sweep's own matter."""

    def stop(self) -> None:
        """Samplers that have tried everything call this, which outside of `optimize` is an error."""


def open_study(plan: Plan, storage: BaseStorage, lock: Lock) -> SweepStudy:
    """The plan's study, made where there is none.

    Raises:
        ConfigError: a study of that name was made by another sweep, or the sampler or pruner cannot be made.
    """
    pruner = make_pruner(plan.pruner)
    sampler = Samplers(plan.sampler, plan.space, len(plan.directions)).for_trial(0)
    identity = plan.identity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with lock("claim"):
        names = {study.study_name for study in storage.get_all_studies()}
        if plan.study_name not in names:
            made = optuna.create_study(storage=storage, study_name=plan.study_name, directions=list(plan.directions))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                made.set_metric_names(list(plan.objectives))
            made.set_user_attr(IDENTITY, identity)
        study = SweepStudy(plan.study_name, storage, sampler=sampler, pruner=pruner)
        before = study.user_attrs.get(IDENTITY)
        if before is None:
            directions = tuple(direction.name.lower() for direction in study.directions)
            if directions != plan.directions:
                raise ConfigError(
                    f"hydra.sweeper.study_name: a study {plan.study_name!r} is there already, with the directions "
                    f"{', '.join(directions)}; give this one another name"
                )
            study.set_user_attr(IDENTITY, identity)  # cut off between its two writes above
            return study
    differing = differences(before, identity)
    if differing:
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise ConfigError(
            f"hydra.sweeper.study_name: a study {plan.study_name!r} is there already, of another sweep "
            f"({'; '.join(differing[:3])}{more}); give this one another name"
        )
    return study


class Samplers:
    """Samplers that draw the same for the same trial, whoever asks and whatever was asked before."""

    def __init__(self, target: Foreign, space: Space, objectives: int) -> None:
        sampler = target.kind(BaseSampler)
        known = inspect.signature(sampler).parameters
        arguments = dict(target.arguments)
        if issubclass(sampler, GridSampler) and arguments.get("search_space") is None:
            arguments["search_space"] = grid(space)
        self.seed = arguments.pop("seed", None)
        self.seeded = "seed" in known and self.seed is not None
        self.fixed = issubclass(sampler, SAME_SEED)
        self.aside = issubclass(sampler, QMCSampler) and "independent_sampler" not in arguments
        self.target = Foreign(target=target.target, arguments=arguments, key=target.key)

    def for_trial(self, number: int) -> BaseSampler:
        """The sampler of one trial.

        Raises:
            ConfigError: it refuses its arguments.
        """
        return TrialSampler(self, number) if self.seeded else self.made(number)

    def made(self, number: int, parameter: str = "") -> BaseSampler:
        """Optuna's sampler, for one trial or one of its parameters."""
        arguments = dict(self.target.arguments)
        if self.seeded:
            mixed = _mixed(self.seed, number, parameter)
            arguments["seed"] = self.seed if self.fixed else mixed
            if self.aside:
                # What a sequence does not hold would be drawn from its seed, the same for every trial.
                arguments["independent_sampler"] = RandomSampler(seed=mixed)
        sampler = _built(self.target, arguments)
        assert isinstance(sampler, BaseSampler)
        if isinstance(sampler, QMCSampler):
            # Optuna counts points as they are drawn, those of trials cut off too; the first trial is random.
            sampler._find_sample_id = lambda *_: max(0, number - 1)  # type: ignore[method-assign]
        return sampler


class TrialSampler(BaseSampler):
    """The sampler of one trial: what it draws depends on the seed, the trial's number and the parameter's name alone.

    A sweep that was cut off anywhere so goes on with the values it would have drawn.
    """

    def __init__(self, samplers: Samplers, number: int) -> None:
        self.samplers = samplers
        self.number = number
        self.whole = samplers.made(number)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> Space:
        """Parameters that are drawn together."""
        return self.whole.infer_relative_search_space(study, trial)

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: Space) -> dict[str, Any]:
        """Draw those together."""
        return self.whole.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw another one by itself."""
        sampler = self.samplers.made(self.number, param_name)
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """As Optuna's sampler."""
        self.whole.before_trial(study, trial)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """As Optuna's sampler."""
        self.whole.after_trial(study, trial, state, values)


def make_pruner(target: Foreign) -> BasePruner:
    """The pruner, whose nested pruner (PatientPruner's) is made too.

    Raises:
        ConfigError: it is no pruner, or refuses its arguments.
    """
    target.kind(BasePruner)
    arguments = {
        name: make_pruner(part) if isinstance(part, Foreign) else part for name, part in target.arguments.items()
    }
    pruner = _built(target, arguments)
    assert isinstance(pruner, BasePruner)
    return pruner


def trials_possible(target: Foreign, space: Space) -> int | None:
    """Different points that an exhaustive sampler has to try, or None for others, which never end.

    Raises:
        ConfigError: a parameter has no end of values.
    """
    if not issubclass(target.kind(BaseSampler), EXHAUSTIBLE):
        return None
    own = target.arguments.get("search_space")
    if own is not None:
        return math.prod(len(values) for values in own.values())
    return math.prod(len(_values(name, distribution)) for name, distribution in space.items())


def grid(space: Space) -> dict[str, list[Any]]:
    """Every value of every parameter.

    Raises:
        ConfigError: a parameter has no end of values.
    """
    return {name: list(_values(name, distribution)) for name, distribution in space.items()}


def _values(name: str, distribution: BaseDistribution) -> Sequence[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    if isinstance(distribution, IntDistribution):
        return range(distribution.low, distribution.high + 1, distribution.step)
    assert isinstance(distribution, FloatDistribution)
    if distribution.step is None:
        raise ConfigError(f"{name}: an interval has no end of values; with this sampler take choice(...) or range(...)")
    low, step = Decimal(str(distribution.low)), Decimal(str(distribution.step))
    count = round((distribution.high - distribution.low) / distribution.step) + 1
    return [float(low + place * step) for place in range(count)]


def _built(target: Foreign, arguments: dict[str, Any]) -> Any:
    try:
        with warnings.catch_warnings():
            # Who names one in a configuration has chosen it.
            warnings.simplefilter("ignore", ExperimentalWarning)
            return Foreign(target=target.target, arguments=arguments, key=target.key).build()
    except (ValueError, TypeError, ImportError) as error:
        raise ConfigError(f"{target.key}: {' '.join(str(error).split())}") from error


def _mixed(seed: int, number: int, parameter: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}/{parameter}".encode()).digest()[:4])
