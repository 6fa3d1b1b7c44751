"""A worker's process: `python -m chirplet.sweep.trial.process`, given the worker through standard input by its parent.

The imports happen before the worker arrives, while the parent still plans.
"""

import os
import sys

from chirplet.system.child_process import ERROR, received
from chirplet.system.error import Interrupted, UserError

CONFIGURATION = 2
"""The exit code of a worker that could not compose a trial."""


def main() -> None:
    """Receive the worker and run it."""
    try:
        _work()
    except KeyboardInterrupt:
        sys.exit(Interrupted.exit_code)


def _work() -> None:
    from hydra.core.singleton import Singleton

    import chirplet.sweep.trial.worker  # noqa: F401 - unpickling the worker needs it

    try:
        state, worker, variables = received()
        os.environ.update(variables)  # torch, which reads some of them, is not yet imported
        Singleton.set_state(state)
        worker.work()
    except UserError as error:
        sys.stderr.writelines(f"{ERROR}{line}\n" for line in str(error).splitlines())
        sys.exit(CONFIGURATION)


if __name__ == "__main__":
    main()
