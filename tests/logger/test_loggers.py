"""Every logger is told what the record holds, and is closed."""

import csv
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from checkpoints import tiny_bert
from chirplet.artifact import Artifact
from chirplet.error import ConfigError
from chirplet.experiment import execute, parse, run_of
from chirplet.logger.wandb import has_key
from chirplet.stage.loggers import open_loggers
from runs import small_run


@pytest.fixture
def configured(compose_config, tmp_path):
    encoder = tiny_bert(tmp_path / "encoder")

    def composed(*overrides: str):
        debug = ["trainer.max_epochs=1", "trainer.limit_train_batches=4", "trainer.log_every_n_steps=1"]
        return compose_config(*small_run(encoder, tmp_path), *debug, *overrides)

    return composed


def test_the_csv_file_holds_the_metrics_of_the_record(configured, tmp_path):
    execute(configured("logger=csv"), tmp_path / "run")
    metrics = Artifact.open(tmp_path / "run" / "artifact").record.metrics
    with (tmp_path / "run" / "metrics" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    [accuracy] = [float(row["test/accuracy"]) for row in rows if row.get("test/accuracy")]
    assert accuracy == pytest.approx(metrics["test"]["accuracy"])
    assert sum(bool(row.get("train/batch_loss")) for row in rows) == 4


def test_tensorboard_events_hold_the_metrics_of_the_record(configured, tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    execute(configured("logger=tensorboard"), tmp_path / "run")
    metrics = Artifact.open(tmp_path / "run" / "artifact").record.metrics
    found = events.EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    found.Reload()
    [event] = found.Scalars("test/f1_macro")
    assert event.value == pytest.approx(metrics["test"]["f1_macro"])


def test_wandb_keeps_an_offline_run(configured, tmp_path):
    pytest.importorskip("wandb")
    execute(configured("logger=wandb"), tmp_path / "run")
    [kept] = (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")
    assert b"f1_macro" in kept.read_bytes()


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


def test_without_a_key_the_run_stays_here_and_that_is_said(configured, tmp_path, monkeypatch, caplog):
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    execute(configured("logger=wandb"), tmp_path / "run")
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*"))
    assert "no W&B key" in caplog.text


def test_a_logger_that_is_not_installed_names_its_extra(configured, tmp_path, monkeypatch):
    monkeypatch.setattr("chirplet.logger.tensorboard.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"tensorboard is not installed; pip install 'chirplet\[tensorboard\]'"):
        execute(configured("logger=tensorboard"), tmp_path / "run")


def test_loggers_are_closed_as_failed_after_an_error(compose_config, tmp_path, monkeypatch):
    from pytorch_lightning.loggers import CSVLogger

    told = []
    monkeypatch.setattr(CSVLogger, "finalize", lambda self, status: told.append(status))
    experiment = parse(compose_config("logger=csv"))
    run = run_of(experiment, tmp_path, {})
    with pytest.raises(KeyError), open_loggers(run):
        raise KeyError
    assert told == ["failed"]
    with open_loggers(replace(run, output_dir=tmp_path / "other")):
        pass
    assert told == ["failed", "success"]


def test_settings_of_loggers_do_not_import_their_libraries():
    code = (
        "import sys, chirplet.logger.wandb, chirplet.logger.tensorboard, chirplet.logger.csv\n"
        "print({'wandb', 'tensorboard', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert done.stdout.strip() == "set()"
