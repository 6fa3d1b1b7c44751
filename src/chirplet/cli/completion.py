"""Shell completion that does not offer the files that options share (`stage=_training`)."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO

_SHARED = re.compile(r"(?<!\S)[\w@/+~]+=(\w+/)*_\w*(?!\S)")


@contextmanager
def only_options() -> Iterator[None]:
    """Leave out of the words that Hydra prints in the block those that are no options."""
    with redirect_stdout(StringIO()) as words:
        yield
    sys.stdout.write(_SHARED.sub("", words.getvalue()))
