"""The start of a command, without the garbage collector until its run begins.

What is imported and composed stays: to look through it again and again takes a tenth of the time.
"""

import gc


def main() -> None:
    """Run the command line."""
    gc.disable()
    from chirplet.cli.main import main as run

    run()


def begun() -> None:
    """Collect garbage from now on, besides what the start has left."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
