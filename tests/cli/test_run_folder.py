"""Each command has a folder of its own, and Hydra writes to none that another one holds."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from chirplet.cli.run_folder import new_folder
from chirplet.system.run_lock import lock_output
from forked import Command, command
from places import SAMPLE

TEXTS = ["data=csv", f"data.train={SAMPLE}", "data.text_column=text", "data.label_column=sentiment"]


def test_of_commands_of_the_same_second_each_gets_a_new_folder(tmp_path):
    with ThreadPoolExecutor(4) as threads:
        folders = [*threads.map(new_folder, [str(tmp_path / "a" / "12-30-05")] * 12)]
    names = ["12-30-05", *(f"12-30-05-{number}" for number in range(2, 13))]
    assert sorted(folders) == sorted(str(tmp_path / "a" / name) for name in names)
    assert {path.name for path in (tmp_path / "a").iterdir()} == set(names)


def test_a_place_that_cannot_be_written_is_left_to_the_lock(tmp_path):
    (tmp_path / "file").write_text("")
    assert new_folder(f"{tmp_path}/file/run") == f"{tmp_path}/file/run"
    done = command("stage=explore", cwd=tmp_path, before="open('outputs', 'w')")
    assert done.returncode == 2
    assert done.stderr.startswith("error: could not write to 'outputs/")
    assert done.stderr.endswith("; give another hydra.run.dir\n")


def test_a_folder_that_another_run_holds_is_refused_before_anything_is_written_to_it(tmp_path):
    with lock_output(tmp_path / "run"):
        (tmp_path / "other").mkdir()
        done = command("stage=explore", f"hydra.run.dir={tmp_path}/other/../run")
        assert done.returncode == 2
        assert done.stderr.startswith("error: hydra.run.dir: another run is writing to ")
        assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]


@pytest.mark.parametrize("number", [1, 2])
def test_commands_at_the_same_time_write_to_their_own_folders(tmp_path, number):
    seeds = ["seed=1", "seed=2"]
    mode, top = ([], "outputs") if number == 1 else (["-m"], "multirun")
    options = [*mode, "stage=explore", *TEXTS, f"cache_dir={tmp_path}/cache", "logger=none"]
    if number == 2:
        seeds = ["seed=1,2"]
    started = [Command(*options, seed, cwd=tmp_path) for seed in seeds]
    ends = [one.end() for one in started]
    assert [end.returncode for end in ends] == [0] * len(seeds), ends
    written = sorted(path.parents[1] for path in (tmp_path / top).rglob(".hydra/overrides.yaml"))
    assert len(written) == 2
    overrides = "".join((folder / ".hydra/overrides.yaml").read_text() for folder in written)
    assert all(overrides.count(f"seed={seed}") == 1 for seed in "12")
    if number == 2:
        assert [folder.name for folder in written] == ["0", "1"] and written[0].parent == written[1].parent
