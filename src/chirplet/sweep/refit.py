"""The run after the last trial: it trains once more with the best settings, on all data that trials saw."""

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
from chirplet.system.error import ConfigError, SweepError

BEST_EPOCH = "{best_epoch}"
"""Stands in an override for the epoch whose weights the best trial kept."""

REFITTED = "refitted"
"""The study's user attribute that names the trial whose settings were refitted."""

FOLDER = "refit"


def check_refit(plan: Plan, job: Job, overrides: Sequence[str]) -> None:
    """Check the refit's configuration before the first trial, with the parameters of an example and one epoch.

    Raises:
        ConfigError: it cannot be composed or is not valid, for a reason that the example trial does not share.
    """
    parameters = {name: example(distribution) for name, distribution in plan.space.items()}
    faults = _faults(plan, job, [*plan.overrides(parameters), *filled(overrides, 1)])
    if faults:
        shared = _faults(plan, job, [*plan.trial_overrides, *plan.overrides(parameters)])
        faults = [fault for fault in faults if fault not in shared]
    if faults:
        raise ConfigError("\n".join(f"{fault} (after hydra.sweeper.refit_overrides)" for fault in faults))


def refit(plan: Plan, job: Job, claims: Claims, overrides: Sequence[str]) -> None:
    """Train with the best trial's parameters and `overrides`, unless that was done before.

    Raises:
        SweepError: no trial is complete and feasible, or the best one has no epoch for `{best_epoch}`.
    """
    best = best_trial(claims.study, plan)
    if best is None:
        raise SweepError("hydra.sweeper.refit: no trial is complete and feasible, so there is nothing to refit")
    if claims.study.user_attrs.get(REFITTED) == best.number:
        return
    epoch = best.user_attrs.get("best_epoch")
    unknown = [text for text in overrides if BEST_EPOCH in text and epoch is None]
    if unknown:
        raise SweepError(
            f"hydra.sweeper.refit_overrides: got {unknown[0]!r}, but trial {best.number}, the best, trained no epochs; "
            "give a number, and the same command goes on"
        )
    config = compose(job, [*plan.overrides(best.params), *filled(overrides, epoch)], plan.folder, FOLDER)
    console().print(f"refit     trial {best.number}'s settings", highlight=False)
    shutil.rmtree(plan.folder / FOLDER, ignore_errors=True)  # of one that was cut off, or of another best trial
    _ = run(job, config).return_value
    claims.study.set_user_attr(REFITTED, best.number)


def filled(overrides: Sequence[str], best_epoch: int | None) -> list[str]:
    """`overrides` with the epoch in its place; other braces are those of mappings."""
    return [text.replace(BEST_EPOCH, str(best_epoch)) for text in overrides]


def _faults(plan: Plan, job: Job, overrides: Sequence[str]) -> list[str]:
    """What is wrong with a run, a line each."""
    hydra = HydraConfig.instance()
    before = hydra.cfg
    try:
        config = compose(job, overrides, plan.folder, FOLDER)
        hydra.set_config(config)  # for what is interpolated from it, as in a run
        job.check(without_hydra(config))
    except ConfigError as error:
        return str(error).splitlines()
    finally:
        hydra.cfg = before
    return []
