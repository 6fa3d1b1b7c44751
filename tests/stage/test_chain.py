"""Chains of real small stages: in one folder, taken up where they broke, and nothing carried out twice."""

import json
import os
import re
import shutil
import signal
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from checkpoints import tiny_bert
from chirplet.artifact.artifact import Artifact
from chirplet.cli.binding import parse
from chirplet.cli.experiment import execute
from chirplet.cli.overrides import inherited
from chirplet.config.redaction import shown
from chirplet.module.distillation import Student
from chirplet.stage.compare import CSV, PAGE
from chirplet.system.error import ArtifactError, ConfigError, Interrupted
from places import CONF, SAMPLE
from runs import small_run

NONE = "'stage.recovery=none','stage.measure_cost=false'"
NO_COMPARISON = "stage.compare=false"
STEPS = (
    "stage.steps={teacher: {stage: finetune, overrides: ['stage.measure_cost=false']},"
    f"sparse: {{stage: prune, of: teacher, overrides: ['pruner.schedule=one_shot','stage.curve=[]',{NONE}]}},"
    "student: {stage: distill, of: teacher, overrides: ['stage.cut.num_layers=1','stage.measure_cost=false']},"
    f"last: {{stage: prune, overrides: ['pruner=vocabulary',{NONE}]}}}}"
)


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("chaining")


@pytest.fixture(scope="module")
def overrides(base) -> list[str]:
    few = ["trainer.max_epochs=1", "logger=none", "stage=chain", "stage.compare_overrides=[]", STEPS]
    return [*small_run(tiny_bert(base / "encoder"), base)[:-1], *few]


def chained(overrides: list[str], folder: Path) -> Path:
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        execute(compose("config", overrides=overrides), folder, overrides)
    return folder


@pytest.fixture(scope="module")
def first(base, overrides) -> Path:
    return chained(overrides, base / "first")


def opened(folder: Path) -> dict[str, Artifact]:
    return {path.parent.name: Artifact.open(path) for path in folder.glob("*/artifact")}


def test_each_step_is_the_stage_itself_and_starts_from_the_one_it_names(first):
    made = opened(first)
    assert set(made) == {"teacher", "sparse", "student", "last"}
    records = {name: artifact.record for name, artifact in made.items()}
    assert [records[name].stage for name in ("teacher", "sparse", "student", "last")] == [
        "finetune",
        "prune",
        "distill",
        "prune",
    ]
    assert records["sparse"].parent == records["student"].parent == records["teacher"].id
    assert records["last"].parent == records["student"].id
    assert "chain" not in records["teacher"].config
    assert records["student"].overrides[:2] == ["stage=distill", "stage.cut.num_layers=1"]
    assert records["student"].overrides[-1] == "teacher=DIR"
    assert (first / CSV).is_file() and "student" in (first / PAGE).read_text()


def test_what_steps_leave_in_the_cache_is_their_owners_alone(first, base):
    assert {path.name for path in (base / "cache").iterdir()} == {"chain", "corpus", "logits", "tokens"}
    modes = {(path.is_dir(), path.stat().st_mode & 0o777) for path in [base / "cache", *(base / "cache").rglob("*")]}
    assert modes == {(True, 0o700), (False, 0o600)}


def test_a_chain_may_start_from_an_artifact(first, overrides, tmp_path):
    teacher = first / "teacher" / "artifact"
    steps = f"stage.steps={{one: {{stage: prune, overrides: ['pruner.schedule=one_shot','stage.curve=[]',{NONE}]}}}}"
    folder = chained([*overrides[:-1], steps, f"artifact={teacher}"], tmp_path / "out")
    assert opened(folder)["one"].record.parent == Artifact.open(teacher).record.id
    assert "teacher" in (folder / CSV).read_text()


def test_steps_that_were_made_before_are_taken_from_there(first, overrides, tmp_path, capsys):
    changed = [override.replace("'pruner=vocabulary'", "'pruner=vocabulary','seed=5'") for override in overrides]
    again = opened(chained([*changed, NO_COMPARISON], tmp_path / "again"))
    told = capsys.readouterr().out
    assert told.count("as before, from") == 3
    before = opened(first)
    for name in ("teacher", "sparse", "student"):
        assert again[name].record == before[name].record
    assert again["last"].record.seed == 5 != before["last"].record.seed


def test_steps_that_were_taken_from_elsewhere_are_there_the_next_time(first, overrides, tmp_path, capsys):
    own = [*overrides, NO_COMPARISON]
    once = opened(chained(own, tmp_path))
    capsys.readouterr()
    again = opened(chained(own, tmp_path))
    assert capsys.readouterr().out.count("as before, from") == 4
    assert {name: one.record for name, one in again.items()} == {name: one.record for name, one in once.items()}
    (tmp_path / "sparse" / "artifact" / "config.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"sparse/artifact' exists already; artifacts are not overwritten"):
        chained(own, tmp_path)


def test_what_was_changed_or_is_gone_is_made_again(first, overrides, tmp_path, capsys):
    """The teacher is that of `first`."""
    steps = (
        "stage.steps={teacher: {stage: finetune, overrides: ['stage.measure_cost=false']},"
        "student: {stage: distill, overrides: ['stage.cut.num_layers=1','stage.measure_cost=false',"
        f"'stage.label_only_baseline=false']}}, last: {{stage: prune, overrides: ['pruner=vocabulary',{NONE}]}}}}"
    )
    own = [*overrides[:-1], steps, NO_COMPARISON]
    once = chained(own, tmp_path / "once")
    assert capsys.readouterr().out.count("as before, from") == 1
    (once / "student" / "artifact" / "config.json").write_text("{}")
    chained(own, tmp_path / "twice")
    told = capsys.readouterr().out
    assert told.count("as before, from") == 2  # the student came out the same, so the last is still its child
    assert "distill of teacher" in told and "prune of student" in told


def test_other_data_make_every_step_again(first, overrides, tmp_path, capsys):
    two = [*overrides[:-1], STEPS.partition(",student:")[0] + "}", NO_COMPARISON]
    chained(two, tmp_path / "same")
    assert capsys.readouterr().out.count("as before, from") == 2
    chained([*two, "data.split_seed=3"], tmp_path / "other")
    assert "as before" not in capsys.readouterr().out
    assert not (tmp_path / "other" / CSV).exists()


def test_the_command_line_wins_over_the_steps(overrides, tmp_path, capsys):
    steps = "stage.steps={one: {stage: finetune, overrides: ['stage.measure_cost=false','trainer.max_epochs=2']}}"
    folder = chained([*overrides[:-1], steps, "seed=9"], tmp_path / "out")
    assert opened(folder)["one"].record.training["epochs"] == 1


def test_another_model_by_the_same_name_is_another_model(first, base, overrides, tmp_path, capsys):
    encoder = tmp_path / "other" / "encoder"
    shutil.copytree(base / "encoder", encoder)
    steps = "stage.steps={one: {stage: finetune, overrides: ['stage.measure_cost=false']}}"
    own = [*overrides[:-1], steps]
    moved = [override.replace(str(base / "encoder"), str(encoder)) for override in own]
    capsys.readouterr()
    chained(moved, tmp_path / "moved")
    assert "as before" in capsys.readouterr().out  # the same weights elsewhere
    (encoder / "note.txt").write_text("changed")
    chained(moved, tmp_path / "changed")
    assert "as before" not in capsys.readouterr().out


def test_a_folder_with_another_run_s_artifact_is_refused_and_nothing_is_remembered_of_it(overrides, tmp_path, capsys):
    examples = tmp_path / "texts.csv"
    shutil.copyfile(SAMPLE, examples)
    steps = "stage.steps={one: {stage: finetune, overrides: ['stage.measure_cost=false']}}"
    kept = [override for override in overrides[:-1] if not override.startswith(("cache_dir=", "data.train="))]
    own = [*kept, steps, f"data.train={examples}", f"cache_dir={tmp_path}/cache"]
    chained(own, tmp_path / "out")
    with examples.open("a", encoding="utf-8") as file:
        file.write("801,0.0,one more text,Neutral\n")
    for _ in range(2):
        with pytest.raises(ArtifactError, match="exists already; artifacts are not overwritten"):
            chained(own, tmp_path / "out")
    capsys.readouterr()
    chained(own, tmp_path / "elsewhere")
    assert "as before" not in capsys.readouterr().out


def test_another_value_from_the_environment_is_another_step(overrides, tmp_path, monkeypatch, capsys):
    steps = "stage.steps={one: {stage: finetune, overrides: ['stage.measure_cost=false']}}"
    own = [*overrides[:-1], steps, "seed=22", "trainer.gradient_clip_val='${oc.decode:${oc.env:CLIP}}'"]
    told = []
    for number, clip in enumerate(("0.5", "0.25", "0.5")):
        monkeypatch.setenv("CLIP", clip)
        chained(own, tmp_path / str(number))
        told.append("as before" in capsys.readouterr().out)
    assert told == [False, False, True]
    monkeypatch.setenv("CLIP", "0.125")
    with pytest.raises(ArtifactError, match="exists already; artifacts are not overwritten"):
        chained(own, tmp_path / "0")


def test_a_checkpoint_is_of_the_first_step_that_is_not_done(overrides, tmp_path, monkeypatch, capsys):
    """The student is interrupted in its third step; the same command with the checkpoint that it left goes on."""
    kept = [override for override in overrides if not override.startswith("cache_dir=")]
    two = (
        "stage.steps={teacher: {stage: finetune, overrides: ['stage.measure_cost=false']},"
        "student: {stage: distill, overrides: ['stage.cut.num_layers=1','stage.measure_cost=false',"
        "'stage.label_only_baseline=false']}}"
    )
    own = [*kept[:-1], two, f"cache_dir={tmp_path}/cache", "callback=default", NO_COMPARISON]
    step = Student.training_step

    def interrupted(self, batch, batch_index):
        if self.global_step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, batch, batch_index)

    with monkeypatch.context() as patch, pytest.raises(Interrupted) as caught:
        patch.setattr(Student, "training_step", interrupted)
        chained(own, tmp_path / "cut")
    (checkpoint,) = re.findall(r"resume=(\S+)", str(caught.value))
    assert "/cut/student/" in checkpoint
    capsys.readouterr()
    chained([*own, f"resume={checkpoint}"], tmp_path / "next")
    assert capsys.readouterr().out.count("as before, from") == 1
    assert opened(tmp_path / "next")["student"].record.training["resumed"]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (
            "stage.steps=[prune]",
            "stage.steps.prune: prune needs an artifact; should come after a step, or give artifact=DIR",
        ),
        (
            "stage.steps={a: {stage: finetune}, b: {stage: prune, of: c}}",
            "steps.b.of: got 'c', should be an earlier step: a",
        ),
        ("stage.steps={a: {stage: finetune}, b: {stage: finetune, of: a}}", "but finetune starts from a model"),
        ("stage.steps={a: {stage: finetune}, b: {stage: prune, of: [a, a]}}", "got 2 steps, should be one for prune"),
        ("stage.steps=[]", "stage.steps: is empty"),
        ("stage.steps={../a: {stage: finetune}}", "stage.steps"),
        ("stage.steps=[finetune,predict]", "should be 'finetune', 'distill', 'prune' or 'quantize'"),
        (
            "stage.steps={a: {stage: finetune, overrides: ['stage.learnin_rate=1']}}",
            "step a: .*did you mean 'learning_rate'",
        ),
        ("stage.steps={a: {stage: finetune, overrides: ['trainer=none']}}", "step a: trainer: got 'none'"),
        ("stage.steps=null", "chain: is missing"),
        ("teacher=somewhere", r"stage.teacher: got 'somewhere', but the teacher of a step is an earlier step"),
        (
            "stage.compare_overrides=['stage.mesure=true']",
            "comparison: stage.mesure: no such key; did you mean 'measure'",
        ),
        (
            "+stage.steps.one={stage: finetune, overrides: ['model.revision=${oc.env:HOME}']}",
            "got .*the step resolves it",
        ),
    ],
)
def test_what_is_wrong_is_told_before_anything_runs(overrides, tmp_path, changed, told):
    with pytest.raises(ConfigError, match=told):
        chained([*overrides[: -1 if "steps=" in changed else None], changed], tmp_path / "out")
    assert [path for path in (tmp_path / "out").rglob("*") if path.name != ".lock"] == []


def test_the_model_of_the_teacher_is_the_model_of_the_steps():
    own = ["model@teacher=bertweet", "teacher.max_length=64", "stage=chain", "stage.compare=false", "chain=best"]
    own += ["chain.settings.layers=2", "data.dir=/a/b", "+trainer.own=1", "~logger.csv", "artifacts=x", "seed=1,2"]
    assert inherited(own) == [
        "model=bertweet",
        "model.max_length=64",
        "data.dir=/a/b",
        "+trainer.own=1",
        "~logger.csv",
        "seed=1,2",
    ]


def test_overrides_are_shown_without_secrets_and_ways():
    given = ["data.dir=/a/b/c", "data.train=[/a/b.csv,~/c/d.csv]", "logger.wandb.api_key=s3cret", "artifact=/x/y"]
    given += ["model.name_or_path=org/name", "teacher=[/a,/b]", "cache_dir=/home/me", "artifact=null"]
    given += ["data.dir='/home/john doe/x'", "data.dir=/data/corona/", "data.dir=file:///home/me/x", "data.dir=~"]
    given += ["+logger.comet={_target_: x.Y, api_key: s3cret}", "x=https://a.b/c/d"]
    assert shown(given) == [
        "data.dir=c",
        "data.train=[b.csv,d.csv]",
        "artifact=DIR",
        "model.name_or_path=org/name",
        "teacher=DIR",
        "artifact=null",
        "data.dir=x",
        "data.dir=corona",
        "data.dir=x",
        "data.dir=~",
        "+logger.comet=HIDDEN",
        "x=https://a.b/c/d",
    ]


@pytest.mark.parametrize(
    "options",
    [
        ["experiment=original_study", "data=vader_tweets", "model@teacher=minilm", "~model@student"],
        ["experiment=best"],
        [],
    ],
)
def test_every_step_of_the_chains_that_come_along_is_valid(options):
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        stage = parse(compose("config", overrides=options)).stage
        for step in stage.named.values():
            parse(compose("config", overrides=[*inherited(options), f"stage={step.stage}", *step.overrides]))
    assert len(stage.named) > 3


def test_the_way_to_an_artifact_is_all_that_is_kept(first, base):
    entries = list((base / "cache" / "chain").glob("*.json"))
    assert entries
    assert all(set(json.loads(entry.read_text())) == {"folder", "id"} for entry in entries)
