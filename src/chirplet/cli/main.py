"""The command line: `python run.py [GROUP=NAME ...] [KEY=VALUE ...]`; `python run.py --help` tells more."""

import os
import sys
from pathlib import Path
from typing import NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from chirplet.system.escaping import terminal

CONF = Path(__file__).resolve().parents[3] / "conf"
INTERRUPTED = 130
FULL_ERROR = "HYDRA_FULL_ERROR"
"""Set by users who want tracebacks; set by `main` for Hydra, whose own reports have several lines."""
_wants_traceback = False


def fail(error: Exception) -> NoReturn:
    """Print an error of the user's on one line and end with its exit code; raise any other."""
    from chirplet.system.error_messages import explain

    told = explain(error)
    if told is None or _wants_traceback:
        raise error
    message, exit_code = told
    sys.stderr.writelines(f"error: {line}\n" for line in terminal(message).splitlines())
    sys.exit(exit_code)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def launch(cfg: DictConfig) -> float | None:
    """Run one composed configuration and return its objective."""
    try:
        from chirplet.cli.launch import run

        return run(cfg)
    except Exception as error:
        if HydraConfig.get().mode != RunMode.MULTIRUN:
            fail(error)
        if getattr(error, "exit_code", None) == INTERRUPTED:
            # Hydra would go on with the next run.

            sys.stderr.write(f"error: {terminal(str(error))}\n")
            raise KeyboardInterrupt from error
        # Any other error a sweep is to see, since it may go on without this run.
        raise


def main() -> None:
    """Run, and turn an error of the user's into one line and an exit code."""
    global _wants_traceback
    _wants_traceback = FULL_ERROR in os.environ
    os.environ.setdefault(FULL_ERROR, "1")
    try:
        if any(argument.startswith("reproduce=") for argument in sys.argv[1:]):
            from chirplet.cli.reproduce.choices import expanded

            sys.argv[1:] = expanded(sys.argv[1:])
        launch()
    except Exception as error:
        fail(error)
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        sys.exit(INTERRUPTED)
