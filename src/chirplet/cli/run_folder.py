"""The folder of a command: a new one, or the one that the user names, locked before Hydra writes to it."""

import os
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from chirplet.cli.failure import fail


def new_folder(path: str) -> str:
    """Create the folder `path`, or `path-2`, `path-3`, ... if commands that started in the same second have it."""
    for number in count(2):
        try:
            Path(path).mkdir(parents=True)
        except FileExistsError:
            path = f"{path.removesuffix(f'-{number - 1}')}-{number}"
        except OSError:  # reported by what writes to it first
            break
        else:
            break
    return path


# Cached in the configuration, so that it is one folder for the whole command and its jobs.
OmegaConf.register_new_resolver("new_folder", new_folder, use_cache=True, replace=True)


class RunFolder(Callback):
    """Creates the folder of a run or multirun, and locks that of a run, which Hydra would write to before it starts."""

    def __init__(self) -> None:
        self._locked = ExitStack()

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Lock the folder of the run until its end, or exit with an error."""
        try:
            from chirplet.system.run_lock import lock_output

            self._locked.enter_context(lock_output(Path(config.hydra.run.dir)))
        except Exception as error:  # Hydra would turn it into a warning
            fail(error)

    def on_run_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Release the folder."""
        self._locked.close()

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Create the folder of the multirun. Optuna's sweeps choose theirs themselves."""
        if config.hydra.runtime.choices.get("hydra/sweeper") != "optuna":
            str(config.hydra.sweep.dir)
