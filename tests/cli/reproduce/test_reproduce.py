"""Runs made again from their records alone, on real texts and a small BERT."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from checkpoints import tiny_bert
from chirplet.artifact.artifact import Artifact
from chirplet.cli.experiment import execute
from chirplet.cli.reproduce.choices import expanded
from chirplet.cli.reproduce.reproduce import reproduce
from chirplet.system.error import UserError
from chirplet.system.error_messages import explain
from forked import command
from places import CONF, SAMPLE
from runs import small_run


@dataclass(frozen=True)
class Place:
    """A folder with an encoder, a fine-tuned artifact, and a copy of the texts to learn from without labels."""

    folder: Path
    encoder: Path
    tuned: Path
    unlabeled_files: Path

    @property
    def files(self) -> list[str]:
        """What the record of a fine-tuned model names by its last part only."""
        return [f"data.train={SAMPLE}", f"model.name_or_path={self.encoder}"]

    def run(self, name: str, *overrides: str) -> Path:
        common = [
            *small_run(self.encoder, self.folder),
            "trainer.max_epochs=1",
            "trainer.limit_train_batches=6",
            *overrides,
        ]
        with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
            execute(compose("config", overrides=common), self.folder / name, common)
        return self.folder / name / "artifact"

    def reproduce(self, artifact: Path, output: Path, *own: str) -> Artifact:
        overrides = expanded([f"reproduce={artifact}", f"cache_dir={self.folder}/cache", *own])
        with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
            reproduce(compose("config", overrides=overrides), output, overrides)
        return Artifact.open(output / "artifact")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Place:
    folder = tmp_path_factory.mktemp("reproduce")
    encoder = tiny_bert(folder / "encoder")
    unlabeled = folder / "more.csv"
    unlabeled.write_text("text\n" + "".join(f"what a day number {number}\n" for number in range(40)), encoding="utf-8")
    place = Place(folder, encoder, folder / "tuned" / "artifact", unlabeled)
    place.run(
        "tuned",
        "stage=finetune",
        "stage.learning_rate=3e-3",
        "stage.schedule=cosine",
        "callback=averaging",
        "callback.weight_averaging.decay=0.9",
        "~callback.progress",
        "logger=none",
        "seed=7",
        "data.val_fraction=0.2",
    )
    return place


def changed_record(artifact: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of the record alone, which `change` has altered: what a stranger might send."""
    folder.mkdir()
    record = json.loads((artifact / "artifact.json").read_text())
    change(record)
    (folder / "artifact.json").write_text(json.dumps(record))
    return folder


def test_a_fine_tuned_run_is_repeated_to_the_bit(place, tmp_path, capsys):
    """From the record alone: of the artifact there is nothing else."""
    original = Artifact.open(place.tuned).record
    alone = changed_record(place.tuned, tmp_path / "alone", lambda record: record.update(overrides=None))
    again = place.reproduce(alone, tmp_path / "out", *place.files).record
    assert (again.id, again.metrics) == (original.id, original.metrics)
    assert again.config == original.config | {"logger": again.config["logger"]}
    assert original.config["logger"] != again.config["logger"], "loggers are the user's affair"
    assert again.overrides[0] == "reproduce=DIR"
    told = capsys.readouterr().out
    assert f"the same metrics to the last digit; weights and predictions too (id {original.id[:12]})" in told
    assert "changed" not in told


def test_what_is_changed_is_told_with_every_figure_that_moved(place, tmp_path, capsys):
    again = place.reproduce(place.tuned, tmp_path / "out", *place.files, "seed=8", "stage.evaluate_train=false").record
    original = Artifact.open(place.tuned).record
    assert again.seed == 8 and again.settings["learning_rate"] == 3e-3
    told = capsys.readouterr().out
    assert "changed   seed: 7 in the record, 8 here" in told
    assert repr(original.metrics["test"]["loss"]) in told and repr(again.metrics["test"]["loss"]) in told
    assert ": other metrics" in told and "deterministic" not in told


def test_a_quantized_run_wants_its_own_parent(place, tmp_path):
    plain = ["stage.sensitivity_texts=16"]
    quantized = place.run("int8", "stage=quantize", f"artifact={place.tuned}", "data.val_fraction=0.2", *plain)
    data = f"data.train={SAMPLE}"
    again = place.reproduce(quantized, tmp_path / "out", data, f"artifact={place.tuned}").record
    original = Artifact.open(quantized).record
    assert (again.id, again.metrics, again.config) == (original.id, original.metrics, original.config)
    with pytest.raises(UserError) as missing:
        place.reproduce(quantized, tmp_path / "none", data)
    parent = original.parent[:12]
    assert str(missing.value) == (
        f"artifact: is missing; give artifact=DIR: 'artifact' of stage=finetune, whose id begins with {parent}"
    )
    with pytest.raises(UserError) as wrong:
        place.reproduce(quantized, tmp_path / "wrong", data, f"artifact={quantized}")
    assert str(wrong.value).endswith(f"has the id {original.id[:12]}, should be {parent}, as in the record")
    assert not (tmp_path / "none").exists() and not (tmp_path / "wrong").exists()


def test_a_distilled_run_wants_its_teacher_and_tweets(place, tmp_path):
    distilled = place.run(
        "student",
        "stage=distill",
        f"teacher={place.tuned}",
        f"unlabeled_files={place.unlabeled_files}",
        "data.val_fraction=0.2",
        "distiller=[logits,hidden]",
        "distiller.hidden.layers=top",
        "stage.cut.num_layers=1",
    )
    given = [f"data.train={SAMPLE}", f"teacher={place.tuned}", f"unlabeled_files={place.unlabeled_files}"]
    again = place.reproduce(distilled, tmp_path / "out", *given).record
    original = Artifact.open(distilled).record
    assert (again.id, again.metrics, again.config) == (original.id, original.metrics, original.config)
    assert again.training["label_only_baseline"]["test"] == original.training["label_only_baseline"]["test"]
    with pytest.raises(UserError) as missing:
        place.reproduce(distilled, tmp_path / "none", given[0])
    assert str(missing.value).splitlines() == [
        f"teacher: is missing; give teacher=DIR: {original.parent[:12]} (of stage=finetune)",
        "unlabeled_files: is missing; give unlabeled_files=FILE: more.csv",
    ]
    with pytest.raises(UserError, match=r"^unlabeled_files: got texts\.csv, should be more\.csv with the same content"):
        place.reproduce(distilled, tmp_path / "wrong", *given[:2], f"unlabeled_files={SAMPLE}")
    with pytest.raises(UserError, match=f"^teacher: has the id {original.id[:12]}, should be {original.parent[:12]}"):
        place.reproduce(distilled, tmp_path / "wrong", given[0], f"teacher={distilled}", given[2])


def test_a_student_of_its_own_and_a_step_of_a_chain(place, tmp_path):
    """A chain's step has the chain's overrides, and none of them is needed."""
    chain = place.folder / "chain"
    overrides = [
        *small_run(place.encoder, place.folder),
        "trainer.limit_train_batches=6",
        "stage=chain",
        "stage.steps={a: {stage: finetune, overrides: ['trainer.max_epochs=1', 'stage.measure_cost=false']}, "
        "b: {stage: distill, overrides: ['stage.label_only_baseline=false', 'stage.measure_cost=false', "
        "'trainer.max_epochs=1']}}",
        "stage.compare=false",
        "model@student=local",
        f"student.name_or_path={place.encoder}",
        "student.max_length=32",
    ]
    overrides.remove("stage.measure_cost=false")
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        execute(compose("config", overrides=overrides), chain, overrides)
    student, teacher = chain / "b" / "artifact", chain / "a" / "artifact"
    given = [f"data.train={SAMPLE}", f"teacher={teacher}", f"student.name_or_path={place.encoder}"]
    again = place.reproduce(student, tmp_path / "out", *given).record
    assert (again.id, again.max_length) == (Artifact.open(student).record.id, 32)
    with pytest.raises(UserError, match=r"^student\.name_or_path: the record has 'encoder' by its name alone; give"):
        place.reproduce(student, tmp_path / "none", *given[:2])


def test_what_must_be_given_and_is_not_the_same_is_told(place, tmp_path):
    def told(*own: str, artifact: Path = place.tuned) -> str:
        with pytest.raises(UserError) as caught:
            place.reproduce(artifact, tmp_path / "out", *own)
        return str(caught.value)

    data, model = place.files
    alone = shutil.copytree(place.tuned, tmp_path / "alone")
    wanted = "model.name_or_path: the record has 'encoder' by its name alone; give model.name_or_path=DIR"
    assert told(artifact=alone).splitlines() == [
        "data.train: the record has 'texts.csv' by its name alone; give data.train=PATH",
        wanted,
    ]
    assert told() == wanted  # where the data's files are is known beside the artifact
    fewer = tmp_path / "fewer.csv"
    fewer.write_text("".join(SAMPLE.read_text(encoding="utf-8").splitlines(keepends=True)[:-1]), encoding="utf-8")
    assert told(f"data.train={fewer}", model).startswith("data: gives other texts or splits (finger")
    other = shutil.copytree(place.tuned, tmp_path / "other")
    assert "holds other weights (SHA-256" in told(data, f"model.name_or_path={other}")
    assert told(data, model, "stage=quantize").startswith("stage: should be left out with reproduce=")
    assert told(data, model, "experiment=best").startswith("experiment: got 'best' with reproduce=, should be left out")
    assert not (tmp_path / "out").exists()


TRACE = "chirplet_was_here"


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("stage._target_", "os.system", "should be one of chirplet's"),
        ("stage._target_", "chirplet.stage.predict.Predict", "should be of a stage that makes an artifact"),
        ("stage._target_", "chirplet.stage.finetune.Other", "the record's is not taken"),
        ("stage", None, "is not a valid record: config: stage: got None"),
        ("data", {"_target_": "chirplet.data.planted.Planted"}, "got 'planted', should be one of"),
        ("callback.mine", {"_target_": "planted.Planted"}, "is not chirplet's ('planted.Planted'); give it again"),
        (
            "callback.checkpoint",
            {"_target_": "planted.Planted"},
            "is not chirplet's ('planted.Planted'); give it again",
        ),
        ("stage.class_weights", [{"_target_": "planted.Planted"}], "which names a class"),
        ("data.train", "/etc/passwd", "which leads out of the working directory; give data.train=VALUE"),
        ("data.val", "../../texts.csv", "which leads out of the working directory"),
        ("model.revision", "${oc.env:HF_TOKEN}", "which would be resolved on this machine"),
        ("artifacts", "x", "but there is no such key here"),
        ("stage.learning_rat", 1.0, "did you mean 'learning_rate'?"),
        ("trainer.max_epochs", "many", "got 'many', should be a valid integer"),
    ],
)
def test_a_record_from_a_stranger_runs_nothing_and_reads_nothing(place, tmp_path, monkeypatch, key, value, line):
    module = tmp_path / "modules" / "planted.py"
    module.parent.mkdir()
    module.write_text(f"open({str(tmp_path / TRACE)!r}, 'w')\nclass Planted:\n    pass\n")
    monkeypatch.syspath_prepend(str(module.parent))

    def change(record: dict[str, Any]) -> None:
        *way, last = key.split(".")
        node = record["config"]
        for part in way:
            node = node[part]
        node[last] = value

    strange = changed_record(place.tuned, tmp_path / "strange", change)
    with pytest.raises(Exception) as caught:
        place.reproduce(strange, tmp_path / "out", *place.files[0 if key != "data.train" else 1 :])
    told = explain(caught.value)
    assert told is not None and told[1] == 2 and "\n" not in told[0]
    assert key in told[0] and line in told[0]
    assert not (tmp_path / TRACE).exists() and not (tmp_path / "out").exists()


def test_what_a_record_cannot_hold_is_given_again(place, tmp_path):
    def change(record):
        record["config"]["callback"]["mine"] = {"_target_": "pytorch_lightning.callbacks.Timer", "interval": "epoch"}

    alone = changed_record(place.tuned, tmp_path / "alone", change)
    mine = ["+callback.mine._target_=pytorch_lightning.callbacks.Timer", "+callback.mine.interval=epoch"]
    again = place.reproduce(alone, tmp_path / "out", *place.files, *mine).record
    assert again.config["callback"]["mine"] == {"_target_": "pytorch_lightning.callbacks.Timer", "interval": "epoch"}
    assert again.id == Artifact.open(place.tuned).record.id


def test_the_command_line_repeats_a_run(place, tmp_path):
    where = [f"cache_dir={tmp_path}/cache", f"hydra.run.dir={tmp_path}/out"]
    done = command(f"reproduce={place.tuned}", *where, *place.files)
    assert done.returncode == 0, done.stderr
    original = Artifact.open(place.tuned).record
    assert Artifact.open(tmp_path / "out" / "artifact").record.metrics == original.metrics
    assert f"weights and predictions too (id {original.id[:12]})" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["reproduce=nowhere"], "error: no artifact at 'nowhere': no such folder"),
        (["-m", "reproduce=a", "seed=1,2"], "error: reproduce: got -m, should be one run"),
        (["reproduce=a,b"], "error: reproduce: got 'a,b', should be one folder of an artifact"),
        (["reproduce=[a,b]"], "error: reproduce: got '[a,b]', should be one folder of an artifact"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, line):
    done = command(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(line) and len(done.stderr.splitlines()) == 1
