"""The sweeper's keys, as in `conf/hydra/sweeper/optuna.yaml`."""

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from chirplet.config.schema import Count, Foreign, Positive, Probability, Settings
from chirplet.sweep.plan.plan import Direction


class SweepSettings(Settings):
    """The settings of a sweep. The YAML file explains each key."""

    sampler: Foreign
    pruner: Foreign
    direction: Direction | list[Direction] | None
    metrics: str | Annotated[list[str], Field(min_length=1)] | None
    constraints: list[str]
    params: dict[str, Any] | None
    custom_search_space: str | None
    enqueue: list[dict[str, Any]]
    n_trials: Count
    n_jobs: Count
    share_gpus: bool
    isolate: bool
    max_failure_rate: Probability
    storage: str | None
    study_name: str | None
    lease_s: Positive
    trial_overrides: list[str]
    discard: list[str]
    refit: bool
    refit_overrides: list[str]
    figures: bool

    @model_validator(mode="after")
    def _one_worker_in_one_process(self) -> Self:
        if not self.isolate and self.n_jobs > 1:
            raise ValueError(f"n_jobs: got {self.n_jobs}, should be 1 with isolate=false")
        return self
