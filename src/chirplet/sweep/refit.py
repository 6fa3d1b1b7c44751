"""The refit: one more training run after the last trial, with the best parameters."""

import shutil
from collections.abc import Sequence

from hydra.core.hydra_config import HydraConfig

from chirplet.sweep.plan.composing import Job, compose, without_hydra
from chirplet.sweep.plan.plan import Plan
from chirplet.sweep.plan.space import example
from chirplet.sweep.result.best import best_trial
from chirplet.sweep.trial.claim import Claims
from chirplet.sweep.trial.worker import run
from chirplet.system.console import console
from chirplet.system.error import ConfigError, SweepError, UserError

BEST_EPOCH = "{best_epoch}"
"""Placeholder in an override for the best epoch of the best trial."""

REFITTED = "refitted"
"""User attribute of the study: the number of the trial that was refitted."""

FOLDER = "refit"


def check_refit(plan: Plan, job: Job, overrides: Sequence[str]) -> None:
    """Check the refit's configuration before the first trial, with example parameters and one epoch.

    Raises:
        ConfigError: it cannot be composed or is not valid, and the same error does not occur for a trial.
    """
    parameters = {name: example(distribution) for name, distribution in plan.space.items()}
    errors = _errors(plan, job, [*plan.overrides(parameters), *filled(overrides, 1)])
    if errors:
        shared = _errors(plan, job, [*plan.trial_overrides, *plan.overrides(parameters)])
        errors = [error for error in errors if error not in shared]
    if errors:
        raise ConfigError("\n".join(f"{error} (after hydra.sweeper.refit_overrides)" for error in errors))


def refit(plan: Plan, job: Job, claims: Claims, overrides: Sequence[str]) -> None:
    """Train with the best trial's parameters and `overrides`, unless this trial was refitted before.

    Raises:
        SweepError: no trial is complete and feasible, or the best one has no value for `{best_epoch}`.
    """
    best = best_trial(claims.study, plan)
    if best is None:
        raise SweepError("hydra.sweeper.refit: got true, but no trial is complete and feasible")
    if claims.study.user_attrs.get(REFITTED) == best.number:
        return
    epoch = best.user_attrs.get("best_epoch")
    unknown = [text for text in overrides if BEST_EPOCH in text and epoch is None]
    if unknown:
        raise SweepError(
            f"hydra.sweeper.refit_overrides: got {unknown[0]!r}, but trial {best.number}, the best, trained no epochs; "
            "set a number and run the same command again"
        )
    config = compose(job, [*plan.overrides(best.params), *filled(overrides, epoch)], plan.folder, FOLDER)
    console().print(f"refit     trial {best.number}'s settings", highlight=False)
    shutil.rmtree(plan.folder / FOLDER, ignore_errors=True)  # left by an interrupted refit, or by an earlier best trial
    _ = run(job, config).return_value
    claims.study.set_user_attr(REFITTED, best.number)


def filled(overrides: Sequence[str], best_epoch: int | None) -> list[str]:
    """`overrides` with `{best_epoch}` replaced. Other braces are Hydra mappings and stay."""
    return [text.replace(BEST_EPOCH, str(best_epoch)) for text in overrides]


def _errors(plan: Plan, job: Job, overrides: Sequence[str]) -> list[str]:
    """The errors in a run's configuration, one per line."""
    hydra = HydraConfig.instance()
    before = hydra.cfg
    try:
        config = compose(job, overrides, plan.folder, FOLDER)
        hydra.set_config(config)  # `${hydra:...}` reads it, as in a run
        job.check(without_hydra(config))
    except UserError as error:
        return str(error).splitlines()
    finally:
        hydra.cfg = before
    return []
