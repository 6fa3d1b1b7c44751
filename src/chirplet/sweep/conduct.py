"""A sweep from its settings to its results. The Hydra plugin calls `conduct`."""

import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from importlib import import_module
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import setup_globals
from omegaconf import OmegaConf, open_dict
from optuna.trial import TrialState

from chirplet.config.options import is_group
from chirplet.config.schema import bind, validate
from chirplet.sweep.plan.background import in_background
from chirplet.sweep.plan.composing import Job
from chirplet.sweep.plan.plan import Plan
from chirplet.sweep.plan.planning import make_plan
from chirplet.sweep.plan.settings import SweepSettings
from chirplet.sweep.plan.storage import of_study, open_storage
from chirplet.sweep.plan.study import open_study
from chirplet.sweep.refit import check_refit, refit
from chirplet.sweep.result.best import best_command, best_trial, experiment_text, front, write_best
from chirplet.sweep.result.display import SweepDisplay
from chirplet.sweep.result.results import results_table, write_front, write_trials
from chirplet.sweep.trial.claim import FAILURE, Claims, too_many_failed
from chirplet.sweep.trial.gpus import worker_gpus
from chirplet.sweep.trial.lease import Owner
from chirplet.sweep.trial.pool import Pool
from chirplet.sweep.trial.worker import Task, Worker
from chirplet.system.atomic_io import check_writable
from chirplet.system.command_line import override_of
from chirplet.system.console import console, shown_path
from chirplet.system.error import Interrupted, SweepError, UserError, first_line

BASIC_LAUNCHER = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
REFRESH_S = 1.0


def conduct(settings: dict[str, Any], job: Job, arguments: Sequence[str]) -> float | list[float] | None:
    """Run a sweep, or resume it.

    Returns:
        The best value; with several objectives the values of the Pareto front; None if no trial is feasible.

    Raises:
        ConfigError: settings or overrides are not valid.
        SweepError: too many trials failed, or no feasible trial can be refitted.
        Interrupted: Ctrl-C; the same command resumes the sweep.
    """
    setup_globals()
    checked: SweepSettings = validate(SweepSettings, bind(settings, "hydra.sweeper"), "hydra.sweeper")
    # The worker processes start first, so that they import their libraries while the plan is made.
    basic = job.config.hydra.launcher._target_ == BASIC_LAUNCHER
    with Pool(checked.n_jobs) if basic and checked.isolate else nullcontext() as pool:
        plan = make_plan(checked, job, arguments)
        _experiment(plan, job, {}, [])  # raises now if tuned.yaml could not be written at the end
        if checked.refit:
            check_refit(plan, job, checked.refit_overrides)
        gpus = [] if pool is None else worker_gpus(plan, checked.n_jobs, checked.share_gpus)
        check_writable(plan.folder, "hydra.sweep.dir")
        storage, lock = open_storage(plan.storage, "hydra.sweeper.storage")
        claims = Claims(plan, storage, lock, open_study(plan, storage, lock), Owner.here())
        OmegaConf.save(job.config, plan.folder / "multirun.yaml")
        if checked.figures:
            # The import takes seconds, so it happens while trials run.
            threading.Thread(target=import_module, args=("chirplet.sweep.result.figures",), daemon=True).start()
        try:
            with _displayed(plan):
                if pool is not None:
                    pool.run(Worker(plan, job), claims, gpus)
                elif basic:
                    Worker(plan, job).work()
                else:
                    _launch(Worker(plan, job), checked.n_jobs)
        except KeyboardInterrupt:
            done = sum(trial.state.is_finished() for trial in claims.trials())
            raise Interrupted(
                f"interrupted: {done} of {plan.n_trials} trials are done; the same command resumes"
            ) from None
    with lock(of_study("results", plan.study_name)):
        _write_results(plan, job, claims, checked.figures)
    trials = claims.trials()
    if too_many_failed(trials, plan):
        failures = [trial for trial in trials if trial.state == TrialState.FAIL]
        raise SweepError(
            f"hydra.sweeper.max_failure_rate: {len(failures)} of {len(trials)} trials failed, should be at most "
            f"{plan.failures_allowed} of {plan.n_trials}; trial {failures[-1].number}: "
            f"{failures[-1].user_attrs.get(FAILURE)}"
        )
    if checked.refit:
        with lock(of_study("refit", plan.study_name)):
            refit(plan, job, claims, checked.refit_overrides)
    if len(plan.directions) > 1:
        return [value for trial in front(claims.study, plan) for value in trial.values]
    best = best_trial(claims.study, plan)
    return None if best is None else best.value


def _launch(worker: Worker, workers: int) -> None:
    """Start the workers with Hydra's launcher; each runs trials until none is left."""
    job, plan = worker.job, worker.plan
    config = job.config.copy()
    with open_dict(config):
        config.hydra.sweep.dir = str(plan.folder)
    launcher = Plugins.instance().instantiate_launcher(
        hydra_context=job.hydra_context, task_function=Task(worker), config=config
    )
    sweep_dir = override_of("hydra.sweep.dir", plan.folder)
    overrides = [[*plan.fixed, sweep_dir, f"hydra.sweep.subdir=worker_{index}"] for index in range(workers)]
    try:
        for done in launcher.launch(overrides, initial_job_idx=0):
            _ = done.return_value  # raises the worker's exception
    except UserError:
        raise
    except Exception as error:  # launchers raise their own exceptions
        name = job.config.hydra.runtime.choices.get("hydra/launcher")
        raise SweepError(
            f"hydra/launcher={name}: a worker exited early ({first_line(error)}); the same command resumes"
        ) from error


def _write_results(plan: Plan, job: Job, claims: Claims, figures: bool) -> None:
    study, out = claims.study, console()
    write_trials(study, plan, plan.folder / "trials.csv")
    if len(plan.directions) > 1:
        write_front(study, plan, plan.folder / "front.csv")
    if figures:
        from chirplet.sweep.result.figures import write_figures

        write_figures(study, plan, plan.folder)
    if any(trial.state == TrialState.COMPLETE for trial in claims.trials()):
        out.print(results_table(study, plan))
    chosen = None if len(plan.directions) > 1 else best_trial(study, plan)
    if chosen is not None:
        name, value = plan.objectives[0], chosen.value
        heading = [f"Trial {chosen.number} of {plan.study_name}: {name} {value:.4f}"]
        write_best(plan.folder, _experiment(plan, job, chosen.params, heading))
        out.print(f"best      {best_command(plan.folder, job.config)}", highlight=False)
    out.print(f"sweep     {shown_path(plan.folder)}", highlight=False)


def _experiment(plan: Plan, job: Job, parameters: Mapping[str, Any], heading: Sequence[str]) -> str:
    """The text of the experiment file for a run with these parameters."""
    loader = job.hydra_context.config_loader
    overrides = OverridesParser.create(config_loader=loader).parse_overrides(plan.overrides(parameters))
    return experiment_text(overrides, partial(is_group, loader), heading)


def _displayed(plan: Plan) -> AbstractContextManager[None]:
    """Show the progress of the sweep while the block runs."""
    storage, _ = open_storage(plan.storage)
    study_id = storage.get_study_id_from_name(plan.study_name)
    out = console()
    # A trial in this process redirects standard output.
    out.file = sys.stdout

    def watch(done: threading.Event) -> None:
        with SweepDisplay(plan, out) as display:
            while True:
                last = done.is_set()
                display.update(storage.get_all_trials(study_id, deepcopy=False))
                if last:
                    return
                done.wait(REFRESH_S)

    return in_background("display", watch)
