"""Composing the configurations of trials, as Hydra would."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import get_overrides_dirname
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from chirplet.config.options import is_group
from chirplet.config.redaction import typed
from chirplet.sweep.plan.plan import Plan
from chirplet.sweep.plan.space import as_override
from chirplet.system.command_line import override_of
from chirplet.system.error import ConfigError
from chirplet.system.error_messages import explain

NULL = "=null"


@dataclass(frozen=True)
class Job:
    """What Hydra passes to the sweeper: enough to compose and run the application anywhere.

    `check` raises UserError if a composed configuration is not valid, or something that it needs is missing.
    """

    hydra_context: HydraContext
    task_function: TaskFunction
    config: DictConfig
    check: Callable[[DictConfig], object]


def compose(job: Job, overrides: Sequence[str], folder: Path, subfolder: str) -> DictConfig:
    """The complete configuration of a run that writes to `folder/subfolder`, including the key `hydra`.

    Raises:
        ConfigError: Hydra cannot compose it.
    """
    folders = [override_of("hydra.sweep.dir", folder), override_of("hydra.sweep.subdir", subfolder)]
    loader = job.hydra_context.config_loader
    # Hydra has no null for a group, but leaves it out.
    removed = [f"~{text.removesuffix(NULL)}" if _is_null(loader, text) else text for text in overrides]
    try:
        config = loader.load_sweep_config(job.config, [*removed, *folders])
    except Exception as error:
        explanation = explain(error)
        if explanation is None:
            raise
        raise ConfigError(explanation[0]) from error
    with open_dict(config):
        config.hydra.job.id = config.hydra.job.num = int(subfolder) if subfolder.isdecimal() else 0
    return config


def _is_null(loader: ConfigLoader, text: str) -> bool:
    return text.endswith(NULL) and text.count("=") == 1 and is_group(loader, text.removesuffix(NULL))


def without_hydra(config: DictConfig) -> DictConfig:
    """`config` as the application receives it, without the key `hydra`; changes it in place."""
    with open_dict(config):
        del config["hydra"]
    return config


class Composer:
    """Composes the trials of one plan, with a cache, because Hydra's composition takes longer than a quick trial.

    A cached configuration is reused for trials that differ only in plain values of the same keys.
    """

    def __init__(self, plan: Plan, job: Job) -> None:
        self.plan = plan
        self.job = job
        self._groups: dict[str, bool] = {}
        self._cache: dict[tuple[Any, ...], tuple[DictConfig, int]] = {}

    def trial(self, parameters: Mapping[str, Any], number: int) -> DictConfig:
        """The configuration of trial `number` with these parameters.

        Raises:
            ConfigError: Hydra cannot compose it.
        """
        values = {key: value for key, value in parameters.items() if self._is_plain(key, value)}
        rest = {key: value for key, value in parameters.items() if key not in values}
        shared = [*self.plan.trial_overrides, *self.plan.fixed, *(as_override(*item) for item in rest.items())]
        searched = [as_override(*item) for item in values.items()]
        key = (*shared, *values)
        if key not in self._cache:
            config = compose(self.job, [*shared, *searched], self.plan.folder, str(number))
            # Overrides of `hydra.*` are in another list.
            self._cache[key] = (config, len(config.hydra.overrides.task) - len(searched))
            return copy.deepcopy(config)
        cached, before = self._cache[key]
        config = copy.deepcopy(cached)
        self._change(config, before, searched, number)
        return config

    def _is_plain(self, key: str, value: Any) -> bool:
        """Whether setting `key` changes nothing else: not an option, an added key, a list or a mapping."""
        if not key.replace(".", "").isidentifier() or key.partition(".")[0] == "hydra":
            return False
        if key not in self._groups:
            self._groups[key] = is_group(self.job.hydra_context.config_loader, key)
        return not self._groups[key] and not (isinstance(value, str) and value.startswith(("[", "{")))

    def _change(self, config: DictConfig, before: int, searched: Sequence[str], number: int) -> None:
        """Apply `searched` to a configuration that was composed with other values of the same keys."""
        parser = OverridesParser.create(config_loader=self.job.hydra_context.config_loader)
        for override in parser.parse_overrides(list(searched)):
            OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
        hydra = config.hydra
        with open_dict(hydra):
            task = [*typed(hydra.overrides.task)[:before], *searched]
            hydra.overrides.task = task
            hydra.overrides.hydra = [*typed(hydra.overrides.hydra)[:-1], override_of("hydra.sweep.subdir", str(number))]
            hydra.sweep.subdir = str(number)
            hydra.job.id = hydra.job.num = number
            hydra.job.override_dirname = get_overrides_dirname(
                parser.parse_overrides(task), **hydra.job.config.override_dirname
            )
