"""What Hydra composed is carried out: a run, or one that is reproduced from a record."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from chirplet.cli.binding import parse
from chirplet.cli.experiment import carry_out
from chirplet.cli.interruption import interruptible
from chirplet.cli.unused_overrides import ignored
from chirplet.config.options import check_option
from chirplet.config.redaction import typed
from chirplet.system.command_line import argument, command
from chirplet.system.error import ConfigError

logger = logging.getLogger(__name__)


def run(cfg: DictConfig) -> float | None:
    """Carry out what Hydra composed; returns the objective's value where the stage has one.

    Raises:
        ConfigError: the configuration is not valid, or a search was asked for without a sweep.
    """
    hydra = HydraConfig.get()
    overrides = typed(hydra.overrides.task)
    _check_choices(hydra.runtime.choices)
    search = hydra.runtime.choices.get("search")
    if search is not None and hydra.mode != RunMode.MULTIRUN:
        raise ConfigError(
            f"search: got {search!r}, which is for sweeps; {command('-m', f'search={search}')} starts one"
        )
    output_dir = Path(hydra.runtime.output_dir)
    key, folder = ("run", output_dir) if hydra.mode == RunMode.RUN else ("sweep", Path(hydra.sweep.dir))
    resuming = argument(f"hydra.{key}.dir", folder) + (" resume=auto" if cfg.resume is None else "")
    with interruptible(output_dir, resuming):
        if cfg.reproduce is not None:
            from chirplet.cli.reproduce.reproduce import reproduce

            return reproduce(cfg, output_dir, overrides)
        experiment = parse(cfg)
        if hydra.mode == RunMode.RUN or hydra.job.num == 0:  # once in a multirun
            for line in ignored(experiment.stage, hydra.runtime.choices["stage"], overrides):
                logger.warning(line)
        return carry_out(experiment, cfg, output_dir, overrides)


def _check_choices(choices: Mapping[str, Any]) -> None:
    """Refuse files that options share, which Hydra takes for options.

    Raises:
        ConfigError: one was chosen.
    """
    for group, choice in choices.items():
        if str(choice).rpartition("/")[2].startswith("_"):
            check_option(GlobalHydra.instance().config_loader(), group.partition("@")[0], str(choice))
