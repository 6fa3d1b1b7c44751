"""Comparing artifacts of real small runs, from the configuration to the files."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from checkpoints import tiny_bert
from chirplet.artifact.artifact import Artifact, content_id
from chirplet.cli.experiment import execute
from chirplet.stage.compare import CSV, MARKDOWN, PAGE
from chirplet.system.error import ArtifactError, ConfigError
from forked import command
from runs import small_run

pytestmark = pytest.mark.usefixtures("costs_here")


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("comparing")


@pytest.fixture(scope="module")
def overrides(base) -> list[str]:
    few = ["trainer.max_epochs=1", "logger=none"]
    return [*small_run(tiny_bert(base / "encoder"), base)[:-1], *few]


@pytest.fixture(scope="module")
def made(base, overrides, compose_config) -> list[Path]:
    """A model of each of two seeds, and a pruned one."""
    costly = "stage.measure_cost=false"
    for seed in (1, 2):
        fast = ["stage.learning_rate=5e-3", "trainer.max_epochs=6", costly, f"seed={seed}"]
        execute(compose_config(*overrides, *fast), base / "runs" / f"teacher{seed}")
    teacher = base / "runs" / "teacher1" / "artifact"
    pruning = ["stage=prune", f"artifact={teacher}", "stage.recovery=none", "stage.curve=[]", "seed=1"]
    execute(compose_config(*overrides, costly, *pruning, "pruner.schedule=one_shot"), base / "runs" / "pruned")
    return [teacher, base / "runs" / "teacher2" / "artifact", base / "runs" / "pruned" / "artifact"]


@pytest.fixture
def comparing(compose_config, overrides, base, made, tmp_path):
    """Compare with further overrides. Returns the output folder."""

    def run(*more: str) -> Path:
        kept = [override for override in overrides if not override.startswith("stage.")]
        given = [] if any(one.startswith("artifacts=") for one in more) else [f"artifacts={base}/runs/**/artifact"]
        execute(compose_config(*kept, "stage=compare", *given, *more), tmp_path / "out")
        return tmp_path / "out"

    return run


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / CSV).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_table_csv_markdown_and_page_are_written(comparing, made, capsys):
    folder = comparing()
    output = capsys.readouterr().out
    assert {path.name for path in folder.iterdir()} == {".lock", CSV, MARKDOWN, PAGE}
    assert f"report    {folder / PAGE}" in output
    actual = rows(folder)
    assert [row["run"] for row in actual] == ["pruned", "teacher1+teacher2"]
    assert actual[1]["seed"] == "1 2"
    pruned, teacher = Artifact.open(made[2]), Artifact.open(made[0])
    drop = teacher.metric("test/accuracy") - pruned.metric("test/accuracy")
    assert float(actual[0]["drop_from_parent"]) == pytest.approx(drop)
    html = (folder / PAGE).read_text(encoding="utf-8")
    assert "Where the models disagree" in html and "with mentions" in html


def test_other_texts_than_the_artifacts_raise_and_are_not_needed_without_texts(comparing):
    with pytest.raises(ArtifactError, match=r"artifacts: .* or stage.texts=false for a report without the texts"):
        comparing("data.split_seed=1")
    assert "Where the models disagree" not in (comparing("data.split_seed=1", "stage.texts=false") / PAGE).read_text()


def test_costs_are_measured_again_interleaved(comparing, made, tmp_path):
    made = [shutil.copytree(one, tmp_path / one.parent.name / "artifact") for one in (made[0], made[2])]
    folder = comparing("stage.measure=true", "stage.rounds=1", f"artifacts=[{made[0]},{made[1]}]")
    for row in rows(folder):
        assert float(row["cost/texts_per_s"]) > 0 and float(row["cost/mb"]) > 0.01 and row["threads"] != ""
    assert int(float(rows(folder)[1]["cost/params_nonzero"])) < int(float(rows(folder)[0]["cost/params_nonzero"]))
    # The records had no speeds, so these are theirs now, and the card shows them.
    assert Artifact.open(made[0]).record.cost["texts_per_s"] == float(rows(folder)[0]["cost/texts_per_s"])
    assert "texts_per_s" in (made[0] / "README.md").read_text(encoding="utf-8")
    assert Artifact.open(made[0]).record.id == content_id(made[0])


def test_the_baseline_may_be_a_folder(comparing, made):
    actual = rows(comparing(f"baseline={made[2]}"))
    assert float(actual[0]["drop_from_baseline"]) == 0.0 != float(actual[1]["drop_from_baseline"])


def test_nothing_to_compare_raises(compose_config, tmp_path):
    with pytest.raises(ConfigError, match="artifacts: is missing; give artifacts="):
        execute(compose_config("stage=compare"), tmp_path)


def test_a_multirun_ends_with_the_comparison_of_its_artifacts(overrides, made, base, tmp_path):
    kept = [override for override in overrides if not override.startswith("stage.")]
    pruning = [
        "stage=prune",
        f"artifact={made[0]}",
        "stage.recovery=none",
        "stage.curve=[]",
        "stage.measure_cost=false",
    ]
    swept = ["pruner.schedule=one_shot", "pruner.sparsity=0.2,0.6", f"hydra.sweep.dir={tmp_path}/sweep"]
    done = command("-m", *kept, *pruning, *swept)
    assert done.returncode == 0, done.stderr
    actual = rows(tmp_path / "sweep")
    assert [row["run"] for row in actual] == ["teacher1", "sparsity=0.2", "sparsity=0.6"]
    assert {row["baseline"] for row in actual} == {"teacher1"} and actual[2]["drop_from_parent"] != ""
    assert f"report    {tmp_path}/sweep/report.html" in done.stdout
    assert "pruner.sparsity=0.6" in (tmp_path / "sweep" / PAGE).read_text()
    # Said once, of both jobs.
    (line,) = done.stderr.splitlines()
    assert line.startswith("model=local, model.name_or_path=") and "change nothing with stage=prune; artifact=" in line


def test_the_baseline_may_be_a_copy(comparing, made, tmp_path):
    shutil.copytree(made[2], tmp_path / "copy")
    actual = rows(comparing(f"baseline={tmp_path}/copy"))
    assert actual[0]["run"] == actual[0]["baseline"] == "pruned"


def test_a_multirun_over_parents_compares_with_each_of_them(overrides, made, tmp_path):
    """Also if the sweep overrides the data."""
    kept = [override for override in overrides if not override.startswith("stage.")]
    kept[kept.index("data.label_column=sentiment")] = "data.label_column=choice(sentiment)"
    pruning = ["stage=prune", f"artifact={made[0]},{made[1]}", "pruner=vocabulary", "stage.measure_cost=false"]
    done = command("-m", *kept, *pruning, "stage.recovery=none", f"hydra.sweep.dir={tmp_path}/sweep")
    assert done.returncode == 0, done.stderr
    actual = rows(tmp_path / "sweep")
    assert [row["run"] for row in actual] == ["teacher1+teacher2", "artifact=teacher1", "artifact=teacher2"]
    assert all(row["drop_from_parent"] != "" for row in actual[1:])
    assert "stage.measure=true measures them" in done.stdout


def test_another_data_set_has_its_own_table_and_a_note_where_its_texts_are_not_known(comparing, made, tmp_path, capsys):
    other = tmp_path / "other" / "artifact"
    shutil.copytree(made[0], other)
    record = json.loads((other / "artifact.json").read_text())
    record["data"] |= {"fingerprint": "0" * 64}
    record["config"]["data"]["fold"] = 1
    (other / "artifact.json").write_text(json.dumps(record))
    folder = comparing(f"artifacts=[{made[0]},{made[2]},{other}]")
    assert [row["data"] for row in rows(folder)] == ["csv data.fold=0", "csv data.fold=0", "csv data.fold=1"]
    assert "note      without texts and new speeds: artifacts: " in capsys.readouterr().out
    html = (folder / PAGE).read_text(encoding="utf-8")
    assert html.count("<h1>") == 2 and html.count("with mentions") == 1
