"""The command line: exit codes, errors in one line, and no torch before the configuration is valid."""

import re
import subprocess
import sys

import pytest

from places import CONF, ROOT


def run(*arguments: str, cwd=ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(ROOT / "run.py"), *arguments], cwd=cwd, capture_output=True, text=True)


def only_line(done: subprocess.CompletedProcess[str]) -> str:
    """The lines on stderr, without the line that Hydra adds if a run of a sweep fails."""
    (line,) = [row for row in done.stderr.splitlines() if not row.startswith("Error executing job with overrides")]
    return line


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["stage=finetune", "stage.learnin_rate=1"],
            "error: stage.learnin_rate: no such key; did you mean 'learning_rate'?",
        ),
        (
            ["stage.learning_rate=1"],
            "error: stage.learning_rate: no such key of stage=chain; set it in the overrides of a step",
        ),
        (["stage=finetun"], "error: stage: got 'finetun', should be one of chain, compare, distill, explore, export, "),
        (["stge=finetune"], "error: stge: no such key; did you mean 'stage'?"),
        (["nonsense"], "error: nonsense: is not KEY=VALUE"),
        (
            ["stage=finetune", "stage.learning_rate=fast"],
            "error: stage.learning_rate: got 'fast', should be a valid number",
        ),
        (["-m", "seed=1", "stage=finetune", "stage.learning_rate=fast"], "error: stage.learning_rate: got 'fast'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, line, tmp_path):
    done = run(*arguments, f"hydra.run.dir={tmp_path}", f"hydra.sweep.dir={tmp_path}")
    assert done.returncode == 2
    assert only_line(done).startswith(line)
    assert not [*tmp_path.rglob("*.log")], "nothing was logged"


def test_help_explains_groups_and_overrides():
    done = run("--help")
    assert done.returncode == 0
    options = [
        (group, path.stem)
        for group in (
            *("stage", "model", "data", "distiller", "pruner", "quantizer"),
            *("chain", "trainer", "callback", "logger", "experiment", "search"),
        )
        for path in (CONF / group).glob("[!_]*.yaml")
    ]
    for group, name in options:
        assert re.search(rf"^  {group} .*(\n {{14,}}.*)*\b{name}\b", done.stdout, re.MULTILINE), (group, name)
    usual = done.stdout.partition("Overrides used most")[2]
    assert len(re.findall(r"^  \S+=\S+", usual, re.MULTILINE)) == 10


def test_the_composed_configuration_can_be_shown():
    done = run("--cfg", "job", "model=bertweet")
    assert done.returncode == 0
    assert "vinai/bertweet-base" in done.stdout


@pytest.mark.parametrize("arguments", [["stage=finetune"], ["-m", "stage=finetune", "seed=1,2"], ["reproduce=nowhere"]])
def test_windows_which_has_no_fcntl_is_refused_in_one_line(arguments, tmp_path):
    code = (
        "import runpy, sys; sys.modules['fcntl'] = None; "
        f"sys.argv[1:] = {[*arguments, f'hydra.run.dir={tmp_path}', f'hydra.sweep.dir={tmp_path}']}; "
        f"runpy.run_path({str(ROOT / 'run.py')!r}, run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert only_line(done).startswith("error: Windows is not supported: ")
