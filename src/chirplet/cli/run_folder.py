"""The folder of a command: a new one, or the one that the user names, locked before Hydra writes to it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from chirplet.cli.failure import fail
from chirplet.system import garbage


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
        garbage.resume()
        with _exiting():
            from chirplet.system.atomic_io import check_writable
            from chirplet.system.run_lock import lock_output

            folder = Path(config.hydra.run.dir)
            self._locked.enter_context(lock_output(folder))
            check_writable(folder, "hydra.run.dir")

    def on_run_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Release the folder."""
        self._locked.close()

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check that the folder of the multirun, or the cache of a search, can be written, or exit with an error."""
        garbage.resume()
        with _exiting():
            from chirplet.system.atomic_io import check_writable
            from chirplet.system.cache_files import check_cache

            if config.hydra.runtime.choices.get("hydra/sweeper") == "optuna":  # which chooses its folder itself
                check_cache(Path(config.cache_dir).expanduser())
            else:
                check_writable(Path(config.hydra.sweep.dir), "hydra.sweep.dir")


@contextmanager
def _exiting() -> Iterator[None]:
    """Exit if the block raises an error, which Hydra would turn into a warning."""
    try:
        yield
    except Exception as error:
        fail(error)
