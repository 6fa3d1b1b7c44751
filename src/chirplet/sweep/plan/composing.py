"""The configurations of trials, composed as Hydra would."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import get_overrides_dirname
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from chirplet.config.redaction import typed
from chirplet.sweep.plan.plan import Plan
from chirplet.sweep.plan.space import as_override
from chirplet.system.error import ConfigError
from chirplet.system.error_messages import explain


@dataclass(frozen=True)
class Job:
    """What Hydra gave the sweeper: enough to compose and run the application anywhere.

    `check` raises ConfigError where a composed configuration is not valid.
    """

    hydra_context: HydraContext
    task_function: TaskFunction
    config: DictConfig
    check: Callable[[DictConfig], object]


def compose(job: Job, overrides: Sequence[str], folder: Path, subfolder: str) -> DictConfig:
    """The whole configuration of one run that writes to `folder/subfolder`, Hydra's own part included.

    Raises:
        ConfigError: Hydra cannot compose it.
    """
    where = [f"hydra.sweep.dir={quoted(str(folder))}", f"hydra.sweep.subdir={quoted(subfolder)}"]
    try:
        config = job.hydra_context.config_loader.load_sweep_config(job.config, [*overrides, *where])
    except Exception as error:
        told = explain(error)
        if told is None:
            raise
        raise ConfigError(told[0]) from error
    with open_dict(config):
        config.hydra.job.id = config.hydra.job.num = int(subfolder) if subfolder.isdecimal() else 0
    return config


def without_hydra(config: DictConfig) -> DictConfig:
    """`config` as the application is given it, changed in place."""
    with open_dict(config):
        del config["hydra"]
    return config


def quoted(text: str) -> str:
    """`text` as the value of an override."""
    return QuotedString(text, Quote.single).with_quotes()


class Composer:
    """Composes trials of one plan, from files as seldom as may be: Hydra takes longer over them than quick trials do.

    What was composed for one trial is kept for those that differ from it in plain values of the same keys only.
    """

    def __init__(self, plan: Plan, job: Job) -> None:
        self.plan = plan
        self.job = job
        self._groups: dict[str, bool] = {}
        self._kept: dict[tuple[Any, ...], tuple[DictConfig, int]] = {}

    def trial(self, parameters: Mapping[str, Any], number: int) -> DictConfig:
        """The configuration of trial `number` with these parameters.

        Raises:
            ConfigError: Hydra cannot compose it.
        """
        values = {key: value for key, value in parameters.items() if self._is_plain(key, value)}
        rest = {key: value for key, value in parameters.items() if key not in values}
        settled = [*self.plan.trial_overrides, *self.plan.fixed, *(as_override(*item) for item in rest.items())]
        searched = [as_override(*item) for item in values.items()]
        same = (*settled, *values)
        if same not in self._kept:
            config = compose(self.job, [*settled, *searched], self.plan.folder, str(number))
            # Hydra's own among the overrides stand in another list.
            self._kept[same] = (config, len(config.hydra.overrides.task) - len(searched))
            return copy.deepcopy(config)
        kept, before = self._kept[same]
        config = copy.deepcopy(kept)
        self._change(config, before, searched, number)
        return config

    def _is_plain(self, key: str, value: Any) -> bool:
        """Whether setting `key` changes nothing else: no option, no key that is added, no list or mapping."""
        if not key.replace(".", "").isidentifier() or key.partition(".")[0] == "hydra":
            return False
        if key not in self._groups:
            self._groups[key] = bool(self.job.hydra_context.config_loader.get_group_options(key))
        return not self._groups[key] and not (isinstance(value, str) and value.startswith(("[", "{")))

    def _change(self, config: DictConfig, before: int, searched: Sequence[str], number: int) -> None:
        """Put the values that `searched` gives into a configuration that was composed for others of them."""
        parser = OverridesParser.create(config_loader=self.job.hydra_context.config_loader)
        for override in parser.parse_overrides(list(searched)):
            OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
        hydra = config.hydra
        with open_dict(hydra):
            task = [*typed(hydra.overrides.task)[:before], *searched]
            hydra.overrides.task = task
            hydra.overrides.hydra = [*typed(hydra.overrides.hydra)[:-1], f"hydra.sweep.subdir={quoted(str(number))}"]
            hydra.sweep.subdir = str(number)
            hydra.job.id = hydra.job.num = number
            hydra.job.override_dirname = get_overrides_dirname(
                parser.parse_overrides(task), **hydra.job.config.override_dirname
            )
