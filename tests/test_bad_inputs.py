"""Bad inputs: one line on standard error, no traceback, exit code 2, and no stage runs."""

import json
import logging
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra

from artifacts import tiny_artifact
from checkpoints import tiny_bert
from places import ROOT, SAMPLE

HERE = Path(__file__).parent / "bad_inputs"
TABLE = yaml.safe_load((HERE / "cases.yaml").read_text(encoding="utf-8"))
CASES: dict[str, dict[str, Any]] = TABLE["cases"]
TRACE = "bad_inputs_were_here"
"""The file that the pickles create if they are loaded."""
BY_SUBPROCESS = ("unknown key", "number of 5000 digits", "record nested deeply")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    tiny_artifact(tiny_bert(folder / "encoder"), folder / "artifact")
    return folder


def command(case: dict[str, Any], sound: Path, tmp_path: Path) -> list[str]:
    """The overrides of a case, with its damaged copies of valid files."""
    for name in ("artifact", "encoder"):
        shutil.copytree(sound / name, tmp_path / name)
    for name in case.get("remove", []):
        (tmp_path / name).unlink()
    for name, source in case.get("copy", {}).items():
        shutil.copyfile(HERE / source, tmp_path / name)
    for name, size in case.get("cut", {}).items():
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:size])
    for name, changes in case.get("json", {}).items():
        path = tmp_path / name
        path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")
    given = {"here": HERE, "tmp": tmp_path, "sample": SAMPLE}
    given |= {"artifact": tmp_path / "artifact", "encoder": tmp_path / "encoder"}
    given |= {"digits": "9" * 5000, "brackets": "[" * 300 + "]" * 300, "long": f"{tmp_path}/{'a' * 3000}.csv"}
    named = [*TABLE["commands"][case["command"]], *case.get("more", [])]
    return [*(override.format(**given) for override in named), f"hydra.run.dir={tmp_path}/run"]


@pytest.fixture
def launch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Runs `run.py` in this process as a script; returns the exit code."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level

    def launched(overrides: list[str]) -> int:
        # run.py sets it, and treats an existing one as the user's.
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        monkeypatch.setattr(sys, "argv", ["run.py", *overrides])
        monkeypatch.chdir(tmp_path)
        GlobalHydra.instance().clear()
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / "run.py"), run_name="__main__")
        assert isinstance(ended.value.code, int)
        return ended.value.code

    yield launched
    os.environ.pop("HYDRA_FULL_ERROR", None)
    GlobalHydra.instance().clear()
    root.handlers[:], root.level = before, level


def check(case: dict[str, Any], exit_code: int, stderr: str, tmp_path: Path) -> None:
    assert exit_code == 2, stderr
    [line] = stderr.splitlines()
    assert re.match(f"error: (?:{case['line']})", line), line
    assert not list(tmp_path.rglob(TRACE)) and not (ROOT / TRACE).exists()
    assert not (tmp_path / "out.csv").exists() and not (tmp_path / "run" / "artifact").exists()


@pytest.mark.parametrize("name", [name for name in CASES if name not in BY_SUBPROCESS])
def test_one_line_and_exit_code_2(name, sound, launch, tmp_path, capsys):
    exit_code = launch(command(CASES[name], sound, tmp_path))
    check(CASES[name], exit_code, capsys.readouterr().err, tmp_path)


@pytest.mark.parametrize("name", BY_SUBPROCESS)
def test_the_same_in_a_new_process(name, sound, tmp_path):
    overrides = command(CASES[name], sound, tmp_path)
    line = [sys.executable, str(ROOT / "run.py"), *overrides]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    check(CASES[name], done.returncode, done.stderr, tmp_path)


def test_the_traceback_is_shown_with_hydra_full_error(tmp_path):
    line = [sys.executable, str(ROOT / "run.py"), "stage=finetune", "seed=-1", f"hydra.run.dir={tmp_path}"]
    environment = {**os.environ, "HYDRA_FULL_ERROR": "1"}
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    assert "Traceback (most recent call last)" in done.stderr
    assert done.stderr.splitlines()[-1].endswith("ConfigError: seed: got -1, should be greater than or equal to 0")


def test_every_file_of_the_corpus_is_used_and_there_are_enough():
    text = (HERE / "cases.yaml").read_text(encoding="utf-8")
    files = [path.relative_to(HERE).as_posix() for path in HERE.rglob("*") if path.is_file()]
    assert [file for file in files if file != "cases.yaml" and file not in text] == []
    assert len(CASES) >= 40
