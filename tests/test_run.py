"""The command line: exit codes, single lines, no torch before the configuration is right."""

import re
import subprocess
import sys

import pytest

from places import CONF, ROOT


def run(*arguments: str, cwd=ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(ROOT / "run.py"), *arguments], cwd=cwd, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["stage=finetune", "stage.learnin_rate=1"],
            "error: stage.learnin_rate: no such key; did you mean 'learning_rate'?",
        ),
        (
            ["stage.learning_rate=1"],
            "error: stage.learning_rate: no such key of stage=chain; stage=finetune and others have",
        ),
        (["stage=finetun"], "error: stage: got 'finetun', should be one of chain, compare, distill, explore, finetune"),
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
    told = [row for row in done.stderr.splitlines() if not row.startswith("Error executing job with overrides")]
    assert len(told) == 1
    assert told[0].startswith(line)


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
        assert re.search(rf"^  {group} .*\b{name}\b", done.stdout, re.MULTILINE), (group, name)
    usual = done.stdout.partition("Overrides used most")[2]
    assert len(re.findall(r"^  \S+=\S+", usual, re.MULTILINE)) == 10


def test_the_composed_configuration_can_be_shown():
    done = run("--cfg", "job", "model=bertweet")
    assert done.returncode == 0
    assert "vinai/bertweet-base" in done.stdout
