"""From a composed configuration to a finished run. The only file that reads a `DictConfig`."""

import copy
import logging
import os
import re
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from pydantic import Field

from chirplet.artifact.hub import Repository, push_again, run_and_push
from chirplet.callback.base import CallbackSettings
from chirplet.cli.unused_overrides import ignored
from chirplet.config.redaction import FROM_ENVIRONMENT, UNRECORDED, public, recorded, shown, typed
from chirplet.config.schema import Foreign, Monitor, Settings, bind, validate
from chirplet.data.base import Source
from chirplet.distiller.base import Distiller
from chirplet.logger.base import LoggerSettings
from chirplet.model.pretrained import Pretrained
from chirplet.pruner.base import Pruner
from chirplet.quantizer.base import Quantizer
from chirplet.stage.base import Stage
from chirplet.stage.chain import ChainSettings
from chirplet.stage.run.context import Composed, Run
from chirplet.stage.run.identity import finished, interruptible
from chirplet.system.console import console, quiet_libraries, shown_path
from chirplet.system.error import ConfigError
from chirplet.system.run_lock import hold_output
from chirplet.trainer import TrainerSettings

if TYPE_CHECKING:
    from chirplet.artifact.artifact import Artifact


logger = logging.getLogger(__name__)


class Objective(Settings):
    """What a run is judged by while it is tuned."""

    objective: Monitor


class Experiment(Objective):
    """Everything in `conf/config.yaml`, bound: each group as the object it describes."""

    model: Pretrained
    data: Source
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
    transfer: str | list[str] | None
    input: str | None
    output: str | None
    resume: str | None
    repeat: str | None
    push: Repository | None
    push_private: bool


REPEATED = ("distiller", "pruner", "quantizer", "student")
"""Keys that a stage's file takes in as they are."""


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
    # First alone: others repeat these, and would report them again under their own names.
    validate(Objective, {"objective": plain.get("objective")})
    for group in REPEATED:
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


def run(cfg: DictConfig) -> float | None:
    """Carry out what `run.py` composed; returns the objective's value where the stage has one.

    Raises:
        ConfigError: the configuration is not valid, or a search was asked for without a sweep.
    """
    hydra = HydraConfig.get()
    overrides = typed(hydra.overrides.task)
    search = hydra.runtime.choices.get("search")
    if search is not None and hydra.mode != RunMode.MULTIRUN:
        raise ConfigError(f"search: got {search!r}, which is for sweeps; python run.py -m search={search} starts one")
    output_dir = Path(hydra.runtime.output_dir)
    key, folder = ("run", output_dir) if hydra.mode == RunMode.RUN else ("sweep", Path(hydra.sweep.dir))
    with interruptible(output_dir, f"hydra.{key}.dir={folder}"):
        if cfg.repeat is not None:
            from chirplet.cli.reproduce.reproduce import repeat

            return repeat(cfg, output_dir, overrides)
        experiment = parse(cfg)
        if hydra.mode == RunMode.RUN or hydra.job.num == 0:  # once in a multirun
            for line in ignored(experiment.stage, hydra.runtime.choices["stage"], overrides):
                logger.warning(line)
        return _carry_out(experiment, cfg, output_dir, overrides)


def execute(cfg: DictConfig, output_dir: Path, overrides: Sequence[str] = ()) -> float | None:
    """As `run`, writing to `output_dir`; what notebooks and tests call with a configuration of their own composing.

    `overrides` are what it was composed of: a chain composes its steps of them, within Hydra's
    `initialize_config_dir`. What the same run has made there before is made only once.

    Raises:
        ConfigError: the configuration is not valid, or another run writes to `output_dir`.
    """
    return _carry_out(parse(cfg), cfg, output_dir, overrides)


def _carry_out(experiment: Experiment, cfg: DictConfig, output_dir: Path, overrides: Sequence[str]) -> float | None:
    quiet_libraries()
    if experiment.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    own = run_of(experiment, output_dir, for_record(cfg), overrides, _with_environment(cfg))
    with hold_output(output_dir):
        done = _done_before(experiment, own)
        if done is None:
            if experiment.push is None:
                return experiment.stage.run(own)
            return run_and_push(experiment.stage, own, experiment.push, experiment.push_private)
    console().print(f"done before: the artifact is {shown_path(done.folder)}", highlight=False)
    if experiment.push is not None:
        push_again(done.folder, experiment.push, experiment.push_private)
    return done.metric(own.objective)


def _done_before(experiment: Experiment, own: Run) -> "Artifact | None":
    """The artifact that the same run has made in its folder before, from what it would read now."""
    done = finished(own, experiment.resume)
    if done is None:
        return None
    from chirplet.cli.reproduce.inputs import reads_the_same

    return done if reads_the_same(experiment, done.record) else None


def run_of(
    experiment: Experiment,
    output_dir: Path,
    config: dict[str, Any],
    overrides: Sequence[str] = (),
    values: dict[str, Any] | None = None,
) -> Run:
    """What the stage is given: the experiment's parts, where it writes, and what its record says of them.

    `values` are those of `config` with what comes from the environment; None where nothing does.
    """
    teachers = experiment.teacher if isinstance(experiment.teacher, list) else [experiment.teacher]
    parents = [experiment.artifact, *teachers]
    return Run(
        model=experiment.model,
        data=experiment.data,
        trainer=experiment.trainer,
        loggers={name: logger for name, logger in experiment.logger.items() if logger is not None},
        callbacks={name: callback for name, callback in experiment.callback.items() if callback is not None},
        seed=experiment.seed,
        deterministic=experiment.deterministic,
        objective=experiment.objective,
        verify=experiment.verify,
        output_dir=output_dir,
        cache_dir=Path(experiment.cache_dir).expanduser(),
        config=config,
        values=config if values is None else values,
        parents=[Path(folder).expanduser() for folder in parents if isinstance(folder, str)],
        overrides=shown(overrides),
        compose=partial(_composed, tuple(overrides)),
        compose_comparison=partial(comparison_of, tuple(overrides)),
    )


def _composed(own: Sequence[str], added: Sequence[str], start: Sequence[str]) -> Composed:
    """A run with `added` overrides, on top of them the `own` ones, but for those of its stage and of files.

    `start` names what it starts from: values of keys of the configuration itself.

    Raises:
        ConfigError: it is not valid, or Hydra was not initialised.
    """
    overrides = [*added, *inherited(own)]
    cfg = _compose(overrides)
    for override in OverridesParser.create().parse_overrides(list(start)):
        OmegaConf.update(cfg, override.key_or_group, override.value())
    experiment = parse(cfg)
    models = [model for model in (experiment.model, experiment.student) if model is not None and model.is_folder]
    transfer = experiment.transfer or []
    files = [Path(file).expanduser() for file in ([transfer] if isinstance(transfer, str) else transfer)]
    inputs = [*(model.folder for model in models), *files]
    carry_out = partial(execute, cfg, overrides=[*overrides, *start])
    return Composed(for_record(cfg), _with_environment(cfg), experiment.data, inputs, carry_out)


def comparison_of(own: Sequence[str], folders: Sequence[Path], added: Sequence[str]) -> Composed:
    """A comparison of artifacts with the data, trainer and cache of `own` overrides, whatever their stage is."""
    comparing = ["stage=compare", *added]
    stage = _compose(comparing).stage
    cfg = _compose([*inherited(own), *(override for override in added if not override.startswith("stage."))])
    with open_dict(cfg):
        # An experiment may have settings of another stage, which are none of this one's.
        cfg.stage = stage
        cfg.artifacts = [str(folder) for folder in folders]
    carry_out = partial(execute, cfg, overrides=comparing)
    return Composed(for_record(cfg), _with_environment(cfg), parse(cfg).data, [], carry_out)


def _compose(overrides: Sequence[str]) -> DictConfig:
    if not GlobalHydra.instance().is_initialized():
        raise ConfigError("stage: Hydra composes further runs; start this one by run.py or in initialize_config_dir")
    name = HydraConfig.get().job.config_name if HydraConfig.initialized() else "config"
    return copy.deepcopy(_from_files(GlobalHydra.instance().hydra, name, tuple(overrides)))


@lru_cache(maxsize=64)
def _from_files(hydra: object, name: str, overrides: tuple[str, ...]) -> DictConfig:
    """What `hydra` composes: a chain asks for its steps twice, and each time takes a third of a second."""
    return compose(name, overrides=list(overrides))


OWN_KEYS = ("stage", "chain", "artifact", "artifacts", "teacher", "input", "output", "resume", "repeat", "push")
"""What a run says of itself alone, and no further run takes over."""


def inherited(overrides: Sequence[str]) -> list[str]:
    """Those of a run's overrides that a further run of the same data, model and trainer takes over.

    `model@teacher=NAME` names the model that a chain starts from: of its steps it is the model.
    """
    kept = []
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if key == "model@teacher" or key.startswith("teacher."):
            kept.append(override.replace(key, key.replace("model@teacher", "model").replace("teacher.", "model."), 1))
        elif key.partition(".")[0] not in OWN_KEYS:
            kept.append(override)
    return kept


def first_job(overrides: Sequence[str]) -> list[str]:
    """The overrides of a multirun's first job."""
    parsed = _parser().parse_overrides(list(overrides))
    return [
        f"{one.get_key_element()}={next(iter(one.sweep_string_iterator()))}" if one.is_sweep_override() else override
        for override, one in zip(overrides, parsed, strict=True)
    ]


def _parser() -> OverridesParser:
    hydra = GlobalHydra.instance()
    return OverridesParser.create(config_loader=hydra.config_loader() if hydra.is_initialized() else None)


def values_of(overrides: Sequence[str], keys: Sequence[str]) -> list[str]:
    """Every text that a multirun's overrides give one of `keys`, in lists too, each once."""
    parser, found = _parser(), list[str]()
    for one in parser.parse_overrides(list(overrides)):
        if one.key_or_group in keys:
            single = [*one.sweep_string_iterator()] if one.is_sweep_override() else [one.get_value_string()]
            for text in single:
                value = parser.parse_override(f"key={text}").value()
                found += [str(part) for part in (value if isinstance(value, list) else [value]) if part is not None]
    return list(dict.fromkeys(found))


def for_record(cfg: DictConfig) -> dict[str, Any]:
    """A composed configuration as a record has it: resolved, without secrets, local keys and ways to files."""
    resolved, raw = (OmegaConf.to_container(cfg, resolve=resolve) for resolve in (True, False))
    assert isinstance(resolved, dict) and isinstance(raw, dict)
    return recorded(resolved, raw)


def _with_environment(cfg: DictConfig) -> dict[str, Any]:
    """As `for_record`, but with the values of what comes from the environment: to tell runs apart, never to be kept."""
    resolved = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(resolved, dict)
    return public({str(key): value for key, value in resolved.items() if key not in UNRECORDED})
