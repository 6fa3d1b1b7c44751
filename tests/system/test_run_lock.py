"""One run at a time writes to a folder."""

import subprocess
import sys
from pathlib import Path

import pytest

from chirplet.system.error import ArtifactError, ConfigError
from chirplet.system.run_lock import lock_output

LOCK_FOLDER = """
import sys
from pathlib import Path
from chirplet.system.run_lock import lock_output
with lock_output(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize(
    "environment",
    [{}, {"LOCAL_RANK": "1"}, {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}, {"SLURM_PROCID": "1"}],
    ids=str,
)
def test_a_second_process_is_refused_until_the_first_exits(tmp_path, monkeypatch, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "run"
    first = subprocess.Popen(
        [sys.executable, "-c", LOCK_FOLDER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert first.stdout is not None and first.stdout.readline() == "locked\n"
    with (
        pytest.raises(ConfigError, match=r"^hydra\.run\.dir: another run is writing to '\S+run'; wait for it, or give"),
        lock_output(folder),
    ):
        pass
    first.kill()
    first.wait()
    with lock_output(folder):
        pass


def test_a_run_holds_its_own_folder_as_often_as_it_likes(tmp_path):
    with lock_output(tmp_path):
        with lock_output(tmp_path):
            pass
        with pytest.raises(KeyError), lock_output(tmp_path):
            raise KeyError


def test_leftovers_are_removed_where_a_run_writes_and_nowhere_else(tmp_path):
    gone = [
        ".artifact.4000000.tmp",
        "checkpoints/.last.ckpt.4000000.tmp",
        "label_only_baseline/checkpoints/.x.ckpt.4000000.tmp",
    ]
    kept = ["other/.a.4000000.tmp", "checkpoints/last.ckpt"]
    for name in (*gone, *kept):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    with lock_output(tmp_path):
        assert not any((tmp_path / name).exists() for name in gone)
    assert all((tmp_path / name).exists() for name in kept)


@pytest.mark.parametrize("where", ["/proc", "/proc/run", "/sys/run", "FILE", "FILE/run"])
def test_a_place_that_cannot_be_written_is_told_at_once(tmp_path, where):
    (tmp_path / "file").write_text("")
    folder = Path(where.replace("FILE", str(tmp_path / "file")))
    told = r"^could not write to '\S+'.*; give another hydra\.run\.dir$"
    with pytest.raises(ArtifactError, match=told), lock_output(folder):
        pass
