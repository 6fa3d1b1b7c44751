"""What W&B is told: read back from offline runs with wandb's own reader."""

import json
from collections.abc import Iterator

import psutil
import pytest

from chirplet.artifact.artifact import Artifact
from chirplet.cli.binding import parse
from chirplet.cli.experiment import execute, run_of
from chirplet.logger.base import Identity
from chirplet.logger.wandb import has_key, run_id
from chirplet.stage.run.loggers import open_loggers
from chirplet.sweep.trial.trial import Pruned
from chirplet.system.error import ConfigError, Interrupted
from offline_runs import read_run

wandb = pytest.importorskip("wandb")

KEY = "5ec2e7" * 7
TOKEN = "hf_5ec2e75ec2e75ec2e7"


@pytest.fixture(scope="module")
def tracked(configured, tmp_path_factory):
    """A finished run's folder, made with secrets in the environment."""
    folder = tmp_path_factory.mktemp("tracked")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_API_KEY", KEY)
        patch.setenv("HF_TOKEN", TOKEN)
        execute(configured("logger=[csv,wandb]", "logger.wandb.tags=[mine]"), folder)
    return folder


@pytest.fixture(scope="module")
def artifact(tracked):
    return Artifact.open(tracked / "artifact")


@pytest.fixture(scope="module")
def seen(tracked):
    return read_run(tracked)


def test_the_run_holds_every_figure_of_the_record_and_no_other(seen, artifact):
    expected = {f"record/{name}": value for name, value in artifact.scalars().items()}
    assert {"record/test/accuracy", "record/val/f1_macro"} <= set(expected)
    told = {name: value for name, value in seen.summary.items() if name.startswith("record/")}
    assert told == expected
    [row] = [row for row in seen.history if "record/test/accuracy" in row]
    assert row["trainer/global_step"] == artifact.record.training["steps"]


def test_steps_and_validations_stand_apart_from_the_record(seen):
    steps = [row for row in seen.history if "train/batch_loss" in row]
    assert [row["trainer/global_step"] for row in steps] == [0, 1, 2, 3]
    [validation] = [row for row in seen.history if "val/f1_macro" in row]
    assert validation["epoch"] == 0
    assert not any(name.startswith("record/") for name in validation)


def test_the_run_says_what_it_is(seen, tracked, artifact):
    assert seen.started["project"] == "chirplet"
    assert seen.started["display_name"] == seen.started["job_type"] == "finetune"
    assert seen.started["run_group"] == tracked.name
    assert seen.tags == ["finetune", "encoder", "csv", "mine"]
    assert "host" not in seen.started
    assert seen.exit_code == 0
    assert seen.summary["artifact"] == artifact.record.id


def test_the_configuration_is_what_the_stage_uses_of_the_record_s_with_the_lineage(seen, artifact):
    unused = {"distiller", "pruner", "quantizer"}
    assert unused <= artifact.record.config.keys() and not unused & seen.config.keys()
    for key in artifact.record.config.keys() & seen.config.keys():
        assert seen.config[key] == artifact.record.config[key], key
    assert seen.config.keys() >= {"data", "model", "stage", "trainer", "seed"}
    assert seen.config["parents"] == []
    assert seen.config["lineage"] == [ancestor.model_dump() for ancestor in artifact.record.lineage]


def test_tables_are_the_record_s_confusions_and_the_worst_mistakes(tracked, artifact):
    [folder] = (tracked / "wandb").glob("offline-run-*/files/media/table")
    [confusion] = (folder / "confusion_matrix").glob("test_table_*.json")
    table = json.loads(confusion.read_text())
    labels = artifact.record.labels
    counts = artifact.record.metrics["test"]["confusion_matrix"]
    cells = {(labels[i], labels[j]): counts[i][j] for i in range(len(labels)) for j in range(len(labels))}
    assert {(true, predicted): count for true, predicted, count in table["data"]} == cells
    [mistakes] = (folder / "worst_mistakes").glob("val_*.json")
    shown = json.loads(mistakes.read_text())
    losses = [row[shown["columns"].index("loss")] for row in shown["data"]]
    assert losses == sorted(losses, reverse=True)
    assert len(losses) == 25
    assert not list((folder / "worst_mistakes").glob("test_*.json"))


def test_no_secret_is_in_any_file_of_the_run(tracked):
    files = [path for path in tracked.rglob("*") if path.is_file()]
    assert len(files) > 10
    for path in files:
        held = path.read_bytes()
        assert KEY.encode() not in held and TOKEN.encode() not in held, path


def test_runs_are_closed_with_their_exit_codes_and_keep_apart(compose_config, tmp_path):
    run = run_of(parse(compose_config("logger=wandb")), tmp_path / "student", {})
    inner = run_of(parse(compose_config("logger=wandb")), tmp_path / "label_only_baseline", {})
    with pytest.raises(Interrupted), open_loggers(run, "distill") as [student]:
        with pytest.raises(Pruned), open_loggers(inner, "label_only_baseline") as [baseline]:
            baseline.log_metrics({"of": 1.0}, 1)
            raise Pruned
        student.log_metrics({"of": 2.0}, 2)
        raise Interrupted
    outer, within = read_run(tmp_path / "student"), read_run(tmp_path / "label_only_baseline")
    assert [row["of"] for row in outer.history] == [2.0]
    assert [row["of"] for row in within.history] == [1.0]
    assert outer.exit_code == 130
    assert within.exit_code == 0
    assert "pruned" in within.tags and within.summary["pruned"] is True
    assert "pruned" not in outer.tags


def test_a_run_whose_trackers_die_goes_on(configured, tmp_path, monkeypatch, caplog):
    from chirplet.stage.fit import fit as fitting

    fit = fitting.fit

    def fit_without(*args, **kwargs):
        for child in psutil.Process().children(recursive=True):
            if "wandb" in child.name():
                child.kill()
                child.wait()
        (tmp_path / "run" / "metrics" / "hparams.yaml").unlink()
        (tmp_path / "run" / "metrics").rmdir()
        return fit(*args, **kwargs)

    monkeypatch.setattr(fitting, "fit", fit_without)
    execute(configured("logger=[csv,wandb]"), tmp_path / "run")
    assert Artifact.open(tmp_path / "run" / "artifact").record.training["steps"] == 4
    lines = [record.getMessage() for record in caplog.records if " failed (" in record.getMessage()]
    assert sorted(line.split()[0] for line in lines) == ["logger.csv", "logger.wandb"]
    # The next run of this process has a service of its own.
    with open_loggers(run_of(parse(configured("logger=wandb")), tmp_path / "next", {}), "finetune") as [logger]:
        logger.log_metrics({"here": 1.0}, 0)
    assert read_run(tmp_path / "next").summary["here"] == 1.0


def test_a_key_is_looked_for_where_wandb_keeps_it(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert not has_key()
    (tmp_path / "netrc").write_text("machine api.wandb.ai\n  login user\n  password 0123\n")
    assert has_key()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert not has_key()
    monkeypatch.setenv("WANDB_API_KEY", "0123")
    assert has_key()


def _opened(compose_config, folder, *overrides):
    return open_loggers(run_of(parse(compose_config("logger=wandb", *overrides)), folder, {}), "finetune")


def test_without_a_key_the_run_stays_here_and_that_is_said(compose_config, tmp_path, monkeypatch, caplog):
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with _opened(compose_config, tmp_path):
        assert list((tmp_path / "wandb").glob("offline-run-*"))
    assert "no W&B key" in caplog.text


@pytest.fixture
def nobody_answers(monkeypatch):
    """W&B's settings are read once a process, so what was read before is forgotten."""
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    wandb.teardown()
    yield
    wandb.teardown()


def test_where_wandb_cannot_be_reached_the_run_stays_here(
    compose_config, tmp_path, nobody_answers, monkeypatch, caplog
):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with _opened(compose_config, tmp_path, "logger.wandb.start_timeout_s=1.5") as [logger]:
        logger.log_metrics({"here": 1.0}, 0)
    assert read_run(tmp_path).summary["here"] == 1.0
    assert "W&B cannot be reached" in caplog.text and f"the run is stored in {tmp_path}/wandb" in caplog.text


def test_a_key_that_cannot_be_one_is_an_error(compose_config, tmp_path, nobody_answers, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "short")
    line = r"^logger.wandb: W&B refused the key \(.*\); WANDB_MODE=offline needs none$"
    with pytest.raises(ConfigError, match=line), _opened(compose_config, tmp_path):
        pass


@pytest.mark.parametrize(
    ("folder", "job_type", "expected"),
    [
        ("run", "finetune", "abc"),
        ("run", "compare", "abc"),
        ("run/finetune", "finetune", "abc-finetune"),
        ("run/distill2/label_only_baseline", "label_only_baseline", "abc-distill2-label_only_baseline"),
        ("run", "label_only_baseline", "abc-label_only_baseline"),  # of a notebook
        ("run/lr=1:2", "finetune", "abc-lr=1_2"),
        ("elsewhere", "finetune", "abc-elsewhere"),
    ],
)
def test_each_run_of_a_command_has_its_own_id_which_does_not_depend_on_the_others(tmp_path, folder, job_type, expected):
    of = Identity(tmp_path / folder, tmp_path / "run", "group", job_type, None, (), ())
    assert run_id("abc", of) == expected


@pytest.fixture
def given_id(monkeypatch) -> Iterator[str]:
    """The id in the environment, which W&B reads once per process."""
    import wandb

    wandb.teardown()
    monkeypatch.setenv("WANDB_RUN_ID", "abc")
    yield "abc"
    wandb.teardown()


def test_a_given_id_is_that_of_the_command_and_names_the_group_of_its_runs(compose_config, tmp_path, given_id):
    run = run_of(parse(compose_config("logger=wandb")), tmp_path, {})
    with open_loggers(run, "distill"), open_loggers(run, "label_only_baseline"):
        pass
    names = [path.name.rpartition("-")[2] for path in (tmp_path / "wandb").glob("offline-run-*")]
    assert len(names) == 2
    runs = {path.name.partition("-abc")[2] for path in (tmp_path / "wandb").glob("offline-run-*")}
    assert runs == {"", "-label_only_baseline"}
