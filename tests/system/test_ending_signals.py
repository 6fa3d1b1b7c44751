"""Signals end a run as Ctrl-C does."""

import os
import pty
import signal
import subprocess
import sys
import threading

import pytest

from chirplet.system.ending_signals import ENDING, ending_as_ctrl_c, handlers_to_replace


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_ends_a_block_once_and_the_handlers_are_as_before(number):
    before = [signal.getsignal(each) for each in ENDING]
    with pytest.raises(KeyboardInterrupt), ending_as_ctrl_c(), ending_as_ctrl_c():
        try:
            os.kill(os.getpid(), number)
        finally:
            os.kill(os.getpid(), number)  # while it ends; a closed terminal sends it twice
    assert [signal.getsignal(each) for each in ENDING] == before


@pytest.mark.parametrize("handler", [signal.SIG_IGN, lambda *_: None], ids=["nohup", "a library's"])
def test_what_is_ignored_or_handled_elsewhere_stays_so(handler):
    previous = signal.signal(signal.SIGHUP, handler)
    try:
        with ending_as_ctrl_c():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) == handler
            assert signal.SIGHUP not in handlers_to_replace()
            assert {signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2} == set(handlers_to_replace())
    finally:
        signal.signal(signal.SIGHUP, previous)


def test_other_threads_leave_signals_alone():
    def inside() -> None:
        with ending_as_ctrl_c():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()


WRITE = """
import os, sys
from chirplet.system.ending_signals import leave_closed_terminal
sys.stdin.read()
try:
    os.write(1, b"x")
except OSError:
    leave_closed_terminal()
    os.write(1, b"x")
    sys.exit(7)
"""


def test_output_goes_nowhere_once_its_terminal_is_closed():
    terminal, end = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", WRITE], stdin=subprocess.PIPE, stdout=end)
    os.close(end)
    os.close(terminal)
    process.communicate()
    assert process.returncode == 7


def test_output_to_an_open_terminal_or_a_file_stays(tmp_path):
    terminal, end = pty.openpty()
    with (tmp_path / "err").open("wb") as err:
        code = (
            "import os; from chirplet.system.ending_signals import leave_closed_terminal as l; l(); os.write(1, b'a')"
        )
        subprocess.run([sys.executable, "-c", f"{code}; os.write(2, b'b')"], stdout=end, stderr=err, check=True)
    assert os.read(terminal, 9) == b"a"
    assert (tmp_path / "err").read_bytes() == b"b"
    os.close(end)
    os.close(terminal)
