"""The garbage collector of a command, which pauses until its run begins.

What is imported and composed stays: to look through it again and again takes a tenth of the time of the start.
"""

import gc


def pause() -> None:
    """Collect nothing until `resume`."""
    gc.disable()


def resume() -> None:
    """Collect garbage from now on, besides what there is already."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
