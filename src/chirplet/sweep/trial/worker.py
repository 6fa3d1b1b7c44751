"""A worker, which runs trials of the study one after the other until none is left."""

import contextlib
import gc
import logging
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from omegaconf import DictConfig
from optuna.trial import Trial, TrialState

from chirplet.artifact.artifact import Artifact
from chirplet.sweep.plan.composing import Composer, Job
from chirplet.sweep.plan.plan import Plan
from chirplet.sweep.plan.space import space_function
from chirplet.sweep.plan.storage import open_storage
from chirplet.sweep.plan.study import open_study
from chirplet.sweep.trial import claim
from chirplet.sweep.trial.claim import Claims, Nothing, Result
from chirplet.sweep.trial.lease import Owner
from chirplet.sweep.trial.trial import LeaseLost, Pruned, RunningTrial, running
from chirplet.system.error import Interrupted

POLL_S = 0.25
"""Seconds until a worker without a trial asks again."""
BEATS_PER_LEASE = 4
FREE_AFTER_S = 1.0
"""Memory is freed after trials of at least this length: the collection takes 0.1 s or more."""
OUTPUT = "output.log"
"""The file with a trial's output, in its folder."""


@dataclass(frozen=True)
class Worker:
    """Runs trials of a plan in this process."""

    plan: Plan
    job: Job

    def work(self) -> None:
        """Run trials until none is left, or too many have failed.

        Raises:
            ConfigError: a trial cannot be composed, which is an error of the sweep, not of the trial.
            KeyboardInterrupt: Ctrl-C; the running trial was released.
        """
        setup_globals()
        storage, lock = open_storage(self.plan.storage)
        claims = Claims(self.plan, storage, lock, open_study(self.plan, storage, lock), Owner.here())
        composer = Composer(self.plan, self.job)
        while True:
            trial = claims.next()
            if trial is Nothing.YET:
                time.sleep(POLL_S)
            elif isinstance(trial, Nothing):
                return
            else:
                self._run(trial, claims, composer)

    def _run(self, trial: Trial, claims: Claims, composer: Composer) -> None:
        folder = self.plan.folder / str(trial.number)
        # Files of an abandoned run.
        shutil.rmtree(folder, ignore_errors=True)
        try:
            config = self._composed(trial, composer)
            with _heartbeat(trial._trial_id, claims, self.plan.lease_s) as lost:
                started = time.monotonic()
                result = self._result(trial, claims, config, lost)
                result.attributes["seconds"] = time.monotonic() - started
        except BaseException:
            claims.give_back(trial._trial_id)
            raise
        if result.attributes["seconds"] > FREE_AFTER_S:
            _free_memory()
        if lost.is_set() or not claims.tell(trial.number, trial._trial_id, result):
            logging.getLogger(__name__).warning("trial %d was taken over by another worker", trial.number)
            return
        for name in self.plan.discard:
            shutil.rmtree(folder / name, ignore_errors=True)

    def _composed(self, trial: Trial, composer: Composer) -> DictConfig:
        config = composer.trial(trial.params, trial.number)
        if self.plan.custom_search_space is not None:
            space_function(self.plan.custom_search_space, "hydra.sweeper.custom_search_space")(config, trial)
            config = composer.trial(trial.params, trial.number)
        return config

    def _result(self, trial: Trial, claims: Claims, config: DictConfig, lost: threading.Event) -> Result:
        folder = self.plan.folder / str(trial.number)

        def report(value: float, step: int) -> None:
            if lost.is_set():
                raise LeaseLost
            # A trial that runs again repeats its earlier reports.
            if step not in claims.storage.get_trial(trial._trial_id).intermediate_values:
                trial.report(value, step)
            if trial.should_prune():
                raise Pruned(f"pruned at report {step}")

        single = len(self.plan.directions) == 1
        with running(RunningTrial(trial.number, report if single else _no_report)):
            done = run(self.job, config, folder / OUTPUT)
        error = done._return_value if done.status == JobStatus.FAILED else None
        if isinstance(error, Pruned):
            return Result(TrialState.PRUNED, None, {}, {})
        if isinstance(error, Interrupted):
            raise KeyboardInterrupt from error
        if isinstance(error, LeaseLost):
            lost.set()
        if error is not None:
            return claim.failed(error)
        return self._evaluated(done, folder)

    def _evaluated(self, done: JobReturn, folder: Path) -> Result:
        artifact = folder / "artifact"
        attributes: dict[str, Any] = {}
        metrics: dict[str, float] = {}
        if artifact.is_dir():
            opened = Artifact.open(artifact)
            metrics = opened.scalars() | opened.costs()
            attributes["metrics"] = metrics
            training = opened.record.training
            # Without a best epoch, the weights are those of the last one.
            epoch = training.get("best_epoch", training.get("epochs"))
            if epoch is not None:
                attributes["best_epoch"] = epoch
        values = [metrics.get(name) for name in self.plan.objectives] if self.plan.from_record else _numbers(done)
        if len(values) != len(self.plan.objectives):
            return claim.failure(f"the run returned {len(values)} values for {len(self.plan.objectives)} objectives")
        constraints = {}
        for constraint in self.plan.constraints:
            value = metrics.get(constraint.metric)
            if value is None:
                return claim.failure(f"{constraint.metric}: the run recorded no value for {constraint.text!r}")
            constraints[constraint.text] = constraint.excess(value)
        return claim.completed(values, self.plan.objectives, attributes, constraints)


@dataclass(frozen=True)
class Task:
    """A worker as a Hydra task function, for launchers other than the basic one."""

    worker: Worker

    def __call__(self, config: DictConfig) -> None:
        """Run the worker; `config` is ignored, since each trial composes its configuration."""
        self.worker.work()


def run(job: Job, config: DictConfig, output: Path | None = None) -> JobReturn:
    """Run the application once in this process; its output goes to the file `output`, if given."""
    try:
        with _into(output) if output else contextlib.nullcontext():
            return run_job(
                hydra_context=job.hydra_context,
                task_function=job.task_function,
                config=config,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )
    finally:
        # The handlers of the run write to its files.
        configure_log(job.config.hydra.hydra_logging, job.config.hydra.verbose)


def _numbers(done: JobReturn) -> list[float | None]:
    value = done.return_value
    return list(value) if isinstance(value, tuple | list) else [value]


def _free_memory() -> None:
    """Free the memory of a trial, so that a trial that ran out of memory does not affect the next ones."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _no_report(value: float, step: int) -> None:
    """Do nothing: Optuna prunes only with a single objective."""


@contextlib.contextmanager
def _into(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        path.open("w", encoding="utf-8", buffering=1) as file,
        contextlib.redirect_stdout(file),
        contextlib.redirect_stderr(file),
    ):
        yield


@contextlib.contextmanager
def _heartbeat(trial_id: int, claims: Claims, lease_s: float) -> Iterator[threading.Event]:
    """Renew the lease during the block; the event is set if the lease is lost."""
    lost, done = threading.Event(), threading.Event()

    def keep() -> None:
        while not done.wait(lease_s / BEATS_PER_LEASE):
            try:
                held = claims.beat(trial_id)
            except Exception as error:  # the next beat may reach the storage again
                logging.getLogger(__name__).warning("heartbeat failed (%s)", error)
                continue
            if not held:
                lost.set()
                return

    thread = threading.Thread(target=keep, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield lost
    finally:
        done.set()
        thread.join()
