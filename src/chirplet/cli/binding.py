"""The whole configuration, checked and bound to objects."""

import re
from typing import Annotated, Any

from omegaconf import DictConfig, OmegaConf
from pydantic import Field

from chirplet.artifact.hub import Repository
from chirplet.callback.base import CallbackSettings
from chirplet.config.redaction import FROM_ENVIRONMENT
from chirplet.config.roles import Role, RunKeys, keys_with
from chirplet.config.schema import Foreign, Settings, bind, validate
from chirplet.data.base import Source
from chirplet.distiller.base import Distiller
from chirplet.logger.base import LoggerSettings
from chirplet.metric.names import Monitor
from chirplet.model.pretrained import Pretrained
from chirplet.pruner.base import Pruner
from chirplet.quantizer.base import Quantizer
from chirplet.stage.base import Stage
from chirplet.stage.chain import ChainSettings
from chirplet.system.error import ConfigError
from chirplet.task.base import Task
from chirplet.trainer import TrainerSettings


class Objective(Settings):
    """The metric by which runs are tuned."""

    objective: Monitor


class Experiment(RunKeys, Objective):
    """Everything in `conf/config.yaml`, bound: each group as the object it describes."""

    model: Pretrained
    data: Source
    task: Task
    stage: Stage
    trainer: TrainerSettings
    distiller: dict[str, Distiller | None]
    pruner: Pruner
    quantizer: Quantizer
    student: Pretrained | None
    logger: dict[str, LoggerSettings | Foreign | None]
    callback: dict[str, CallbackSettings | Foreign | None]
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    deterministic: bool
    verify: bool
    cache_dir: str
    chain: ChainSettings | None
    artifact: str | None
    artifacts: str | list[str] | None
    baseline: str | None
    teacher: Pretrained | str | list[str] | None
    unlabeled_files: str | list[str] | None
    input: str | list[str] | None
    output: str | None
    target: str
    resume: str | None
    reproduce: str | None
    push: Repository | None
    push_private: bool


def parse(cfg: DictConfig) -> Experiment:
    """Check a whole composed configuration and bind it, without importing torch.

    Raises:
        ConfigError: one line for each thing that is wrong.
    """
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise ConfigError("\n".join(f"{key}: is missing; give {key}=VALUE" for key in missing))
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    # Checked first: other groups include these and would report their errors again.
    validate(Objective, {"objective": plain.get("objective")})
    for group in keys_with(Role.REPEATED_BELOW):
        bind(plain.get(group), group)
    _check_steps(cfg)
    bound = bind(plain)
    groups = {group: bound.get(group) for group in ("logger", "callback")}
    bare = [
        f"{group}.{name}" for group, parts in groups.items() for name, part in (parts or {}).items() if _is_bare(part)
    ]
    if bare:
        raise ConfigError("\n".join(f"{key}: has no _target_, which names its class" for key in bare))
    experiment: Experiment = validate(Experiment, bound)
    return experiment


def _check_steps(cfg: DictConfig) -> None:
    """See that no step of a chain holds what came from the environment: it would be recorded as it is."""
    for key in ("chain", "stage"):
        node = cfg.get(key)
        steps = OmegaConf.to_container(node) if isinstance(node, DictConfig) and "steps" in node else None
        if isinstance(steps, dict) and re.search(rf"(?<!\\){FROM_ENVIRONMENT.pattern}", str(steps["steps"])):
            raise ConfigError(f"{key}.steps: got ${{oc.env:NAME}}, should be \\${{oc.env:NAME}}: the step resolves it")


def _is_bare(part: Any) -> bool:
    return part is not None and not isinstance(part, Settings)
