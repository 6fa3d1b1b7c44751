"""From a composed configuration to a finished run. The only file that reads a `DictConfig`."""

import logging
import os
import warnings
from pathlib import Path
from typing import Annotated, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from pydantic import Field, field_validator

from chirplet.callback.base import CallbackSettings
from chirplet.config import Foreign, Settings, bind, near, validate
from chirplet.data.source import Source
from chirplet.error import ConfigError
from chirplet.logger.base import LoggerSettings
from chirplet.model.pretrained import Pretrained
from chirplet.stage.base import Run, Stage
from chirplet.trainer import TrainerSettings

METRICS = (
    "accuracy",
    "loss",
    "calibration_error",
    *(f"{score}_{average}" for score in ("f1", "precision", "recall") for average in ("macro", "weighted")),
)


class Experiment(Settings):
    """Everything in `conf/config.yaml`, bound: each group as the object it describes."""

    model: Pretrained
    data: Source
    stage: Stage
    trainer: TrainerSettings
    logger: dict[str, LoggerSettings | Foreign | None]
    callback: dict[str, CallbackSettings | Foreign | None]
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    deterministic: bool
    objective: str
    cache_dir: str
    artifact: str | None
    input: str | None
    output: str | None
    resume: str | None

    @field_validator("objective")
    @classmethod
    def _objective_exists(cls, objective: str) -> str:
        known = [f"val/{metric}" for metric in METRICS]
        if objective not in known:
            raise ValueError(f"got {objective!r}, should be one of {', '.join(known)}{near(objective, known)}")
        return objective


def parse(cfg: DictConfig) -> Experiment:
    """Check a whole composed configuration and bind it, without importing torch.

    Raises:
        ConfigError: one line for each thing that is wrong.
    """
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise ConfigError("\n".join(f"{key}: is missing; give {key}=VALUE" for key in missing))
    plain = OmegaConf.to_container(cfg, resolve=True)
    experiment: Experiment = validate(Experiment, bind(plain))
    return experiment


def run(cfg: DictConfig) -> float | None:
    """Carry out what `run.py` composed; returns the objective's value where the stage has one."""
    return execute(cfg, Path(HydraConfig.get().runtime.output_dir))


def execute(cfg: DictConfig, output_dir: Path) -> float | None:
    """As `run`, writing to `output_dir`; what notebooks and tests call with a configuration of their own composing."""
    experiment = parse(cfg)
    _quiet()
    if experiment.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    run = Run(
        model=experiment.model,
        data=experiment.data,
        trainer=experiment.trainer,
        loggers={name: logger for name, logger in experiment.logger.items() if logger is not None},
        callbacks={name: callback for name, callback in experiment.callback.items() if callback is not None},
        seed=experiment.seed,
        deterministic=experiment.deterministic,
        objective=experiment.objective,
        output_dir=output_dir,
        cache_dir=Path(experiment.cache_dir).expanduser(),
        config=_for_record(cfg),
    )
    return experiment.stage.run(run)


LOCAL_KEYS = ("cache_dir", "artifact", "input", "output", "resume")
"""Where things lie on one machine; no part of what makes a result."""


def _for_record(cfg: DictConfig) -> dict[str, Any]:
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): _without_folders(value) for key, value in plain.items() if key not in LOCAL_KEYS}


def _without_folders(value: Any) -> Any:
    """Absolute and home paths cut down to their last part: a record names no folder of one machine."""
    if isinstance(value, dict):
        return {key: _without_folders(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_folders(item) for item in value]
    if isinstance(value, str) and (value.startswith("~") or Path(value).is_absolute()):
        return Path(value).name
    return value


def _quiet() -> None:
    """Keep the libraries' housekeeping off the terminal; errors and chirplet's own lines stay."""
    for name in ("httpx", "matplotlib", "fontTools"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*`isinstance.treespec, LeafSpec.` is deprecated.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*You defined a `validation_step` but have no `val_dataloader`.*",
        ".*is smaller than the logging interval.*",
    ):
        warnings.filterwarnings("ignore", message=message)
