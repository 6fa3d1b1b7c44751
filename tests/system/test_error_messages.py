"""What is wrong with a disk is told in one line, wherever it comes from; what is wrong with us is not."""

import errno
import os
import subprocess
import sys

import pytest
from hydra.errors import HydraException

from chirplet.system.error_messages import explain
from places import ROOT

PLACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR)


@pytest.mark.parametrize("number", PLACE, ids=errno.errorcode.get)
def test_a_disk_or_a_place_at_fault(number):
    told = explain(OSError(number, os.strerror(number), "/somewhere/file"))
    assert told == (f"/somewhere/file: cannot be written or read ({os.strerror(number)})", 2)
    told = explain(OSError(number, os.strerror(number)))
    assert told == (f"cannot be written or read ({os.strerror(number)})", 2)


@pytest.mark.parametrize(
    "error", [OSError(errno.EBADF, "Bad file descriptor"), FileNotFoundError(2, "No"), KeyError("a")]
)
def test_an_error_of_ours(error):
    assert explain(error) is None


def test_a_folder_that_hydra_cannot_make_is_told_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    command = [sys.executable, "run.py", "stage=explore", f"hydra.run.dir={tmp_path}/file/run"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        f"error: could not write to '{tmp_path}/file/run': Not a directory; give another hydra.run.dir"
    )
    assert "Traceback" not in done.stderr


def test_a_key_of_what_is_not_there_is_told_what_gives_it(compose_config):
    with pytest.raises(HydraException) as caught:
        compose_config("stage=distill", "student.max_length=48")
    told = "student.max_length: no such key, because student is null; set model@student=NAME first"
    assert explain(caught.value) == (told, 2)
