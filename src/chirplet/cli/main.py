"""The command line: `chirplet [GROUP=NAME ...] [KEY=VALUE ...]`, or `python run.py`; `chirplet --help` explains it."""

import os
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from chirplet.cli import failure, run_folder  # noqa: F401 - run_folder registers a resolver of conf/config.yaml
from chirplet.cli.failure import fail
from chirplet.cli.overrides import quoted_signs
from chirplet.system.ending_signals import ending_as_ctrl_c
from chirplet.system.escaping import terminal

CONF = (Path(__file__).resolve().parents[1] / "conf").resolve()
"""The configuration: in a wheel a folder of the package, in a clone a link to the one at its top."""
INTERRUPTED = 130
FULL_ERROR = "HYDRA_FULL_ERROR"
"""Users set this for tracebacks. `main` sets it so that Hydra raises errors instead of printing several lines."""


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
            # Otherwise Hydra would start the next run.
            sys.stderr.write(f"error: {terminal(str(error))}\n")
            raise KeyboardInterrupt from error
        # A sweep may continue without this run.
        raise


def _completion() -> AbstractContextManager[None]:
    if not {"--shell-completion", "-sc"} & set(sys.argv[1:]):
        return nullcontext()
    from chirplet.cli.completion import only_options

    return only_options()


def main() -> None:
    """Run the command line; print user errors without a traceback and exit with their code."""
    failure.show_traceback = FULL_ERROR in os.environ
    os.environ.setdefault(FULL_ERROR, "1")
    try:
        with ending_as_ctrl_c():
            _run()
    except Exception as error:
        fail(error)
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        sys.exit(INTERRUPTED)


def _run() -> None:
    sys.argv[1:] = quoted_signs(sys.argv[1:])
    if any(argument.startswith("reproduce=") for argument in sys.argv[1:]):
        from chirplet.cli.reproduce.choices import expanded

        sys.argv[1:] = expanded(sys.argv[1:])
    elif any(argument.startswith(("artifact=", "artifacts=", "teacher=")) for argument in sys.argv[1:]):
        from chirplet.cli.known_data import with_data

        sys.argv[1:] = with_data(sys.argv[1:], CONF)
    with _completion():
        launch()
