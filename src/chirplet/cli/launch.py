"""What `run.py` composed is carried out: a run, or one that is reproduced from a record."""

import logging
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from chirplet.cli.binding import parse
from chirplet.cli.experiment import carry_out
from chirplet.cli.interruption import interruptible
from chirplet.cli.unused_overrides import ignored
from chirplet.config.redaction import typed
from chirplet.system.error import ConfigError

logger = logging.getLogger(__name__)


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
        if cfg.reproduce is not None:
            from chirplet.cli.reproduce.reproduce import reproduce

            return reproduce(cfg, output_dir, overrides)
        experiment = parse(cfg)
        if hydra.mode == RunMode.RUN or hydra.job.num == 0:  # once in a multirun
            for line in ignored(experiment.stage, hydra.runtime.choices["stage"], overrides):
                logger.warning(line)
        return carry_out(experiment, cfg, output_dir, overrides)
