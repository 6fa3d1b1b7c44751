"""The end of a command by an error."""

import sys
from typing import NoReturn

from chirplet.system.escaping import terminal

show_traceback = False
"""Whether the user asked for tracebacks."""


def fail(error: Exception) -> NoReturn:
    """Print a user error, one line for each problem, and exit with its code; raise any other error."""
    from chirplet.system.error_messages import explain

    explanation = explain(error)
    if explanation is None or show_traceback:
        raise error
    message, exit_code = explanation
    sys.stderr.writelines(f"error: {line}\n" for line in terminal(message).splitlines())
    sys.exit(exit_code)
