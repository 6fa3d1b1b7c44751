"""From a composed configuration to a finished run."""

import copy
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict

from chirplet.artifact.artifact import Artifact, check_free, content_id
from chirplet.artifact.hub import push_existing
from chirplet.cli.binding import Experiment, parse
from chirplet.cli.known_data import data_overrides
from chirplet.cli.overrides import inherited
from chirplet.cli.push_result import run_and_push
from chirplet.config.redaction import public, recorded, shown
from chirplet.config.roles import Role, keys_with
from chirplet.config.schema import as_list, bind
from chirplet.data.base import Source
from chirplet.data.table.files import table_files
from chirplet.model.loading.blueprint import Blueprint
from chirplet.stage.base import MeasuringStage
from chirplet.stage.run.context import AUTO, Composed, Run
from chirplet.stage.run.identity import Inputs, differences, identity_in, identity_of
from chirplet.system.console import console, quiet_libraries, shown_path
from chirplet.system.error import ConfigError, UserError
from chirplet.system.run_lock import lock_output

logger = logging.getLogger(__name__)


def execute(cfg: DictConfig, output_dir: Path, overrides: Sequence[str] = ()) -> float | None:
    """As `run`, writing to `output_dir`; for notebooks and tests, which compose the configuration themselves.

    `overrides` are what it was composed of: a chain composes its steps of them, within Hydra's
    `initialize_config_dir`. What the same run has made there before is made only once.

    Raises:
        ConfigError: the configuration is not valid, or another run writes to `output_dir`.
    """
    return carry_out(parse(cfg), cfg, output_dir, overrides)


def carry_out(experiment: Experiment, cfg: DictConfig, output_dir: Path, overrides: Sequence[str]) -> float | None:
    """Carry out a configuration that was parsed, unless the same run was carried out before in `output_dir`.

    Raises:
        UserError: something that the run needs is missing, which is said before any work; or whatever the stage raises.
    """
    quiet_libraries()
    if experiment.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    this_run = run_of(experiment, output_dir, for_record(cfg), overrides, _with_environment(cfg))
    with lock_output(output_dir):
        done = _done_before(this_run, experiment.resume)
        if done is None:
            if experiment.stage.makes_artifact:
                check_free(this_run.artifact_folder)
            if experiment.push is None:
                experiment.stage.check(this_run)
                return experiment.stage.run(this_run)
            return run_and_push(experiment.stage, this_run, experiment.push, experiment.push_private)
    console().print(f"done before: the artifact is {shown_path(done.folder)}", highlight=False)
    if experiment.push is not None:
        push_existing(done.folder, experiment.push, experiment.push_private)
    return done.metric(this_run.objective)


def _done_before(run: Run, resume: str | None) -> Artifact | None:
    """The artifact that the same run made in its folder before, if it is complete and `resume` is auto."""
    folder = run.artifact_folder
    if resume != AUTO or not folder.is_dir():
        return None
    try:
        done = Artifact.open(folder)
        same = not [*differences(identity_of(run.inputs), identity_in(done.record))]
    except UserError:
        return None
    return done if same and done.record.id == content_id(folder) else None


def run_of(
    experiment: Experiment,
    output_dir: Path,
    config: dict[str, Any],
    overrides: Sequence[str] = (),
    values: dict[str, Any] | None = None,
) -> Run:
    """What the stage gets: the parts of the experiment, its folders, and what its record will say of them.

    `values` are those of `config` with what comes from the environment; None where nothing does.
    """
    return Run(
        model=experiment.model,
        data=experiment.data,
        task=experiment.task,
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
        ignored=frozenset(experiment.stage.ignores()),
        inputs=inputs_of(experiment, config if values is None else values),
        overrides=shown(overrides),
        compose=partial(_composed, tuple(overrides)),
        compose_comparison=partial(comparison_of, tuple(overrides)),
        compose_data=_data_of,
    )


def inputs_of(experiment: Experiment, values: Mapping[str, Any]) -> Inputs:
    """What the stage reads; `values` is the configuration with what comes from the environment."""
    stage = experiment.stage
    given = {key: as_list(getattr(experiment, key)) for key in keys_with(Role.PARENT) if stage.takes(key)}
    parents = {key: [Path(one).expanduser() for one in some if isinstance(one, str)] for key, some in given.items()}
    models = {key: getattr(experiment, key) for key in ("model", "student") if stage.takes(key)}
    try:
        files = table_files(experiment.unlabeled_files if stage.takes("unlabeled_files") else None, "a file of texts")
    except ValueError as error:
        raise ConfigError(f"unlabeled_files: {error}") from None
    return Inputs(
        values=values,
        data=experiment.data,
        cache_dir=Path(experiment.cache_dir).expanduser(),
        parents={key: folders for key, folders in parents.items() if folders},
        models={key: model for key, model in models.items() if model is not None},
        unlabeled_files=[Path(file).expanduser() for file in files],
    )


def _composed(command: Sequence[str], added: Sequence[str], start: Sequence[str]) -> Composed:
    """A run with `added` overrides, and then those of the command that a further run inherits.

    `start` names what it starts from: values of keys of the configuration itself.

    Raises:
        ConfigError: it is not valid, or Hydra was not initialised.
    """
    overrides = [*added, *inherited(command)]
    cfg = _compose(overrides)
    for override in OverridesParser.create().parse_overrides(list(start)):
        OmegaConf.update(cfg, override.key_or_group, override.value())
    return _as_composed(cfg, [*overrides, *start])


def _as_composed(cfg: DictConfig, overrides: Sequence[str]) -> Composed:
    experiment = parse(cfg)
    this_run = run_of(experiment, Path(), for_record(cfg), overrides, _with_environment(cfg))

    def check_start(folder: Path, parents: Sequence[Blueprint]) -> Blueprint:
        stage, in_folder = experiment.stage, replace(this_run, output_dir=folder)
        assert isinstance(stage, MeasuringStage)
        return stage.check_start(in_folder, parents or stage.parents(in_folder))

    return Composed(
        inputs=this_run.inputs,
        check_parts=partial(experiment.stage.check_parts, this_run),
        check_start=check_start,
        run=partial(execute, cfg, overrides=overrides),
    )


def comparison_of(command: Sequence[str], folders: Sequence[Path], added: Sequence[str]) -> Composed:
    """A comparison of artifacts with the data, trainer and cache of the `command`, whatever its stage is."""
    comparing = ["stage=compare", *added]
    stage = _compose(comparing).stage
    cfg = _compose([*inherited(command), *(override for override in added if not override.startswith("stage."))])
    with open_dict(cfg):
        # An experiment may have settings of another stage, which are none of this one's.
        cfg.stage = stage
        cfg.artifacts = [str(folder) for folder in folders]
    return _as_composed(cfg, comparing)


def _data_of(artifact: Artifact) -> Source | None:
    """The data that an artifact was made from; None if its record has no settings of them, or Hydra did not start."""
    overrides = data_overrides(artifact) if GlobalHydra.instance().is_initialized() else []
    return bind(OmegaConf.to_container(_compose(overrides).data, resolve=True), "data") if overrides else None


def _compose(overrides: Sequence[str]) -> DictConfig:
    if not GlobalHydra.instance().is_initialized():
        raise ConfigError(
            "stage: Hydra composes further runs; start this one by `chirplet` or in initialize_config_dir"
        )
    name = HydraConfig.get().job.config_name if HydraConfig.initialized() else "config"
    return copy.deepcopy(_from_files(GlobalHydra.instance().hydra, name, tuple(overrides)))


@lru_cache(maxsize=64)
def _from_files(hydra: object, name: str, overrides: tuple[str, ...]) -> DictConfig:
    """What `hydra` composes: a chain asks for its steps twice, and each time takes a third of a second."""
    return compose(name, overrides=list(overrides))


def for_record(cfg: DictConfig) -> dict[str, Any]:
    """A composed configuration as a record has it: resolved, without secrets, local keys and paths."""
    resolved, raw = (OmegaConf.to_container(cfg, resolve=resolve) for resolve in (True, False))
    assert isinstance(resolved, dict) and isinstance(raw, dict)
    return recorded(resolved, raw)


def _with_environment(cfg: DictConfig) -> dict[str, Any]:
    """Like `for_record`, but with values from the environment: for the identity, never stored."""
    resolved = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(resolved, dict)
    unrecorded = keys_with(Role.LOCAL, Role.UNRECORDED)
    return public({str(key): value for key, value in resolved.items() if key not in unrecorded})
