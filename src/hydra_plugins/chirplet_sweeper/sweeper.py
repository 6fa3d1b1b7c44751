"""The Hydra plugin. `chirplet.sweep` implements it and is imported only when a sweep starts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


class OptunaSweeper(Sweeper):
    """A sweep with Optuna: `hydra/sweeper=optuna`, or any `search=NAME`.

    `conf/hydra/sweeper/optuna.yaml` explains the arguments; `chirplet.sweep.plan.settings` checks them.
    """

    def __init__(
        self,
        sampler: Mapping[str, Any],
        pruner: Mapping[str, Any],
        direction: str | Sequence[str] | None,
        metrics: str | Sequence[str] | None,
        constraints: Sequence[str],
        params: Mapping[str, Any] | None,
        custom_search_space: str | None,
        enqueue: Sequence[Mapping[str, Any]],
        n_trials: int,
        n_jobs: int,
        share_gpus: bool,
        isolate: bool,
        max_failure_rate: float,
        storage: str | None,
        study_name: str | None,
        lease_s: float,
        trial_overrides: Sequence[str],
        refit: bool,
        refit_overrides: Sequence[str],
        discard: Sequence[str],
        figures: bool,
    ) -> None:
        self.settings = {name: value for name, value in locals().items() if name not in ("self", "__class__")}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Store the job that Hydra passes.

        Raises:
            DependencyError: Optuna is not installed.
        """
        from chirplet.system.optional_dependency import check_installed

        check_installed("train", "hydra/sweeper=optuna")
        from chirplet.sweep.plan.composing import Job

        self.job = Job(hydra_context, task_function, config, check)

    def sweep(self, arguments: list[str]) -> Any:
        """Run the sweep; `arguments` are the overrides of the command line."""
        from chirplet.sweep.conduct import conduct

        return conduct(self.settings, self.job, arguments)


def check(config: DictConfig) -> None:
    """Check a configuration of chirplet, and that what its parts need is here. Those of other applications are not
    checked.

    Raises:
        UserError: it is not valid, or something is missing.
    """
    if str(OmegaConf.select(config, "stage._target_")).startswith("chirplet."):
        from chirplet.cli.binding import parse
        from chirplet.cli.experiment import run_of

        experiment = parse(config)
        experiment.stage.check_parts(run_of(experiment, Path(), {}))
