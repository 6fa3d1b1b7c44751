"""The command line: `python run.py [GROUP=NAME ...] [KEY=VALUE ...]`; `python run.py --help` explains it."""

import os
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from chirplet.cli.overrides import quoted_signs
from chirplet.system.escaping import terminal

CONF = Path(__file__).resolve().parents[3] / "conf"
INTERRUPTED = 130
FULL_ERROR = "HYDRA_FULL_ERROR"
"""Users set this for tracebacks. `main` sets it so that Hydra raises errors instead of printing several lines."""
_wants_traceback = False


def fail(error: Exception) -> NoReturn:
    """Print a user error, one line for each problem, and exit with its code; raise any other error."""
    from chirplet.system.error_messages import explain

    explanation = explain(error)
    if explanation is None or _wants_traceback:
        raise error
    message, exit_code = explanation
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
    global _wants_traceback
    _wants_traceback = FULL_ERROR in os.environ
    os.environ.setdefault(FULL_ERROR, "1")
    try:
        sys.argv[1:] = quoted_signs(sys.argv[1:])
        if any(argument.startswith("reproduce=") for argument in sys.argv[1:]):
            from chirplet.cli.reproduce.choices import expanded

            sys.argv[1:] = expanded(sys.argv[1:])
        with _completion():
            launch()
    except Exception as error:
        fail(error)
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        sys.exit(INTERRUPTED)
