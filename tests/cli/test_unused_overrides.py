"""Overrides that change nothing are told of; those that are heard are not."""

import subprocess
import sys
from pathlib import Path

import pytest

from chirplet.cli.binding import parse
from chirplet.cli.unused_overrides import ignored

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("stage", "override", "told"),
    [
        ("distill", "model=roberta_tiny", "; model@student=NAME names the student"),
        ("distill", "model.max_length=32", "; model@student=NAME names the student"),
        ("distill", "artifact=null", "; teacher=DIR names the teacher"),
        ("quantize", "model=bertweet", "; artifact=DIR has a model of its own"),
        ("quantize", "pruner=structured", ""),
        ("quantize", "trainer.max_epochs=3", "; quantizer=qat trains for quantizer.epochs"),
        ("prune", "model@student=minilm", ""),
        ("prune", "teacher=null", "; artifact=DIR is what it starts from"),
        ("finetune", "artifact=null", ""),
        ("finetune", "quantizer.reduce_range=auto", ""),
        ("chain", "input=texts.csv", ""),
        ("compare", "artifact=null", ""),
        ("predict", "task=single_label", "; the record of artifact=DIR names the task"),
        ("compare", "task=single_label", "; the records of artifacts name the task"),
        ("explore", "task=single_label", ""),
    ],
)
def test_what_a_stage_makes_nothing_of_is_told(stage, override, told, compose_config):
    own = parse(compose_config(f"stage={stage}")).stage
    assert list(ignored(own, stage, [f"stage={stage}", override])) == [
        f"{override}: changes nothing with stage={stage}{told}"
    ]


@pytest.mark.parametrize(
    ("stage", "overrides"),
    [
        (
            "finetune",
            [
                "model=bertweet",
                "model.max_length=32",
                "data=csv",
                "task=single_label",
                "trainer.max_epochs=2",
                "seed=1",
            ],
        ),
        (
            "distill",
            ["teacher=null", "task=single_label", "model@student=minilm", "student.max_length=32", "distiller=hidden"],
        ),
        ("quantize", ["artifact=null", "task=single_label", "quantizer=qat", "quantizer.epochs=2"]),
        ("prune", ["artifact=null", "task=single_label", "pruner=structured", "~logger"]),
        (
            "chain",
            [
                "model@teacher=minilm",
                "task=single_label",
                "teacher.max_length=32",
                "pruner=structured",
                "unlabeled_files=null",
            ],
        ),
        ("compare", ["artifacts=null", "baseline=null"]),
        ("predict", ["artifact=null", "input=-", "output=-"]),
        ("explore", ["model=bertweet"]),
    ],
)
def test_what_a_stage_takes_is_not_told(stage, overrides, compose_config):
    own = parse(compose_config(f"stage={stage}")).stage
    assert list(ignored(own, stage, [f"stage={stage}", *overrides])) == []


def test_a_key_is_told_of_once(compose_config):
    own = parse(compose_config("stage=distill")).stage
    told = list(ignored(own, "distill", ["model=local", "seed=1", "model.name_or_path=DIR", "artifact=null"]))
    assert [line.partition(";")[0] for line in told] == [
        "model=local, model.name_or_path=DIR: change nothing with stage=distill",
        "artifact=null: changes nothing with stage=distill",
    ]


def test_a_command_tells_it_before_the_work(tmp_path):
    overrides = ["stage=predict", "model=bertweet", f"hydra.run.dir={tmp_path}"]
    done = subprocess.run([sys.executable, "run.py", *overrides], cwd=ROOT, capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    assert done.returncode == 2
    assert lines[0].endswith("model=bertweet: changes nothing with stage=predict; artifact=DIR has a model of its own")
    assert lines[1].startswith("error: artifact: is missing")
