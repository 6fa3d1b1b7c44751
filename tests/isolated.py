"""Saved models run in this process, where it is not a process of their own that is tested: each imports torch."""

import io
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from subprocess import CompletedProcess
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from chirplet.evaluation import isolated_process


@contextmanager
def here() -> Iterator[None]:
    """Run them here, timed for no longer than it takes."""
    with (
        patch.object(isolated_process, "subprocess", SimpleNamespace(run=_run)),
        patch.object(isolated_process, "THROUGHPUT_S", 0.0),
    ):
        yield


def _run(line: list[str], **_: Any) -> CompletedProcess[str]:
    printed = io.StringIO()
    with patch.object(sys, "argv", line[2:]), redirect_stdout(printed):
        try:
            isolated_process.main()
        except Exception:
            return CompletedProcess(line, 1, printed.getvalue(), traceback.format_exc())
    return CompletedProcess(line, 0, printed.getvalue(), "")
