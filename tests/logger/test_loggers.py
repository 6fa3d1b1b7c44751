"""Every logger is told what the record holds, and is closed, whatever becomes of its backend."""

import csv
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from optuna.exceptions import TrialPruned
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.utilities import rank_zero_only

from chirplet.artifact.artifact import Artifact
from chirplet.cli.binding import parse
from chirplet.cli.experiment import execute, for_record, run_of
from chirplet.logger.base import End
from chirplet.stage.run.loggers import end_of, identify, open_loggers
from chirplet.sweep.trial.trial import Pruned
from chirplet.system.error import ConfigError, DataError, Interrupted
from places import CONF


@pytest.fixture(scope="module")
def finished(configured, tmp_path_factory):
    """The folder of a run with two loggers."""
    folder = tmp_path_factory.mktemp("finished")
    execute(configured("logger=[csv,tensorboard]"), folder)
    return folder


@pytest.fixture(scope="module")
def artifact(finished):
    return Artifact.open(finished / "artifact")


def test_the_csv_file_holds_every_figure_of_the_record(finished, artifact):
    with (finished / "metrics" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    [last] = [row for row in rows if row["record/test/accuracy"]]
    told = {name: float(value) for name, value in last.items() if name.startswith("record/") and value}
    assert told == {f"record/{name}": value for name, value in artifact.scalars().items()}
    assert int(last["step"]) == artifact.record.training["steps"]
    assert sum(bool(row["train/batch_loss"]) for row in rows) == 4
    assert not last["val/accuracy"]


def test_confusions_and_mistakes_stand_beside_the_csv_file(finished, artifact):
    with (finished / "metrics" / "confusion_matrix_val.csv").open(newline="") as file:
        _, *rows = csv.reader(file)
    assert [list(map(int, row[1:])) for row in rows] == artifact.record.metrics["val"]["confusion_matrix"]
    with (finished / "metrics" / "worst_mistakes_val.csv").open(newline="", encoding="utf-8") as file:
        mistakes = list(csv.DictReader(file))
    assert all(row["true"] != row["predicted"] and row["text"] for row in mistakes)


def test_tensorboard_events_hold_the_metrics_of_the_record(finished, artifact):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = events.EventAccumulator(str(finished / "tensorboard"))
    found.Reload()
    for name, value in artifact.scalars().items():
        [event] = found.Scalars(f"record/{name}")
        assert event.value == pytest.approx(value)
    [text] = found.Tensors("confusion_matrix/test/text_summary")
    assert artifact.record.labels[0].encode() in text.tensor_proto.string_val[0]


def test_without_loggers_nothing_is_written_for_them(configured, tmp_path):
    execute(configured("logger=none"), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "artifact", "checkpoints", "local.json"}


def test_a_rank_in_the_environment_does_not_switch_loggers_off(configured, tmp_path, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 3)  # as Lightning takes it from RANK or LOCAL_RANK
    execute(configured("logger=csv"), tmp_path)
    with (tmp_path / "metrics" / "metrics.csv").open() as file:
        assert len([row for row in csv.DictReader(file) if row["train/batch_loss"]]) == 4


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (None, End(0, pruned=False)),
        (Pruned(), End(0, pruned=True)),
        (TrialPruned(), End(0, pruned=True)),
        (DataError("a file is damaged"), End(2, pruned=False)),
        (Interrupted("at step 3"), End(130, pruned=False)),
        (KeyboardInterrupt(), End(130, pruned=False)),
        (SystemExit(3), End(3, pruned=False)),
        (SystemExit(None), End(0, pruned=False)),
        (SystemExit("why"), End(1, pruned=False)),
        (ZeroDivisionError(), End(1, pruned=False)),
    ],
)
def test_how_a_run_ended(error, end):
    assert end_of(error) == end


def _run(compose_config, folder, *overrides):
    return run_of(parse(compose_config(*overrides)), folder, {})


def test_loggers_are_closed_once_as_the_run_ended(compose_config, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(CSVLogger, "finalize", lambda self, status: told.append(status))
    run = _run(compose_config, tmp_path, "logger=csv")
    with pytest.raises(KeyError), open_loggers(run, "finetune"):
        raise KeyError
    assert told == ["failed"]
    with open_loggers(replace(run, output_dir=tmp_path / "other"), "finetune") as [logger]:
        logger.finalize("success")  # as Lightning does after every fit
    assert told == ["failed", "success"]


def test_parameters_are_those_that_the_stage_uses(compose_config, tmp_path, monkeypatch):
    logged = []
    monkeypatch.setattr(CSVLogger, "log_hyperparams", lambda self, params: logged.append(params))
    cfg = compose_config("logger=csv")
    with open_loggers(run_of(parse(cfg), tmp_path, for_record(cfg)), "finetune"):
        pass
    assert {"model", "data", "stage", "trainer", "lineage"} <= set(logged[0])
    assert not {"distiller", "pruner", "quantizer", "student"} & set(logged[0])


FOREIGN = "+logger.own={_target_: pytorch_lightning.loggers.CSVLogger, save_dir: %s, name: own}"


def test_a_logger_of_a_library_is_guarded_too(compose_config, tmp_path, caplog):
    run = _run(compose_config, tmp_path, "logger=none", FOREIGN % tmp_path)
    with open_loggers(run, "finetune") as [logger]:
        logger.log_metrics({"here": 1.0}, 0)
        shutil.rmtree(logger.log_dir)
        logger.save()
        logger.log_metrics({"gone": 1.0}, 1)
    lines = [record.getMessage() for record in caplog.records if "logger." in record.getMessage()]
    assert len(lines) == 1
    assert lines[0].startswith("logger.own failed (FileNotFoundError: ")
    assert lines[0].endswith("); the run continues without it")


def test_what_cannot_be_started_is_an_error(compose_config, tmp_path):
    (tmp_path / "file").write_text("")
    run = _run(compose_config, tmp_path, "logger=none", FOREIGN % (tmp_path / "file" / "below"))
    line = r"^logger.own: cannot be started \(NotADirectoryError: .*\); ~logger.own leaves it out$"
    with pytest.raises(ConfigError, match=line), open_loggers(run, "finetune"):
        pass


@pytest.fixture
def in_hydra():
    """Hydra's own settings, as within a run."""

    def set_up(*overrides: str) -> None:
        with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
            HydraConfig.instance().set_config(compose("config", overrides=list(overrides), return_hydra_config=True))

    before = HydraConfig.instance().cfg
    yield set_up
    HydraConfig.instance().cfg = before


@pytest.mark.parametrize(
    ("overrides", "group", "trial"),
    [
        (["hydra.mode=MULTIRUN", "hydra/sweeper=optuna", "hydra.sweep.dir=m/finetune-0123", "+hydra.job.num=7"],
         "finetune-0123", 7),
        (["hydra.mode=MULTIRUN", "hydra/sweeper=optuna", "hydra.sweeper.study_name=mine", "hydra.sweep.dir=m/x",
          "+hydra.job.num=0"], "mine", 0),
        (["hydra.mode=MULTIRUN", "hydra.sweep.dir=multirun/2026-11-26/11-14-24", "+hydra.job.num=2"],
         "2026-11-26 11-14-24", 2),
        (["hydra.mode=RUN", "+hydra.runtime.output_dir=outputs/2026-11-26/11-14-24"], "2026-11-26 11-14-24", None),
    ],
)  # fmt: skip
def test_runs_that_belong_together_have_a_group(compose_config, tmp_path, in_hydra, overrides, group, trial):
    run = _run(compose_config, tmp_path / "deep" / "prune")
    in_hydra(*(override.replace("+hydra", "++hydra") for override in overrides))
    identity = identify(run, "prune", ("prune",), ())
    assert (identity.group, identity.trial) == (group, trial)
    assert identity.name == ("prune" if trial is None else f"prune {trial}")


def test_settings_of_loggers_do_not_import_their_libraries():
    code = (
        "import sys, chirplet.logger.wandb, chirplet.logger.tensorboard, chirplet.logger.csv, chirplet.logger.mlflow\n"
        "print({'wandb', 'tensorboard', 'torch', 'mlflow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert done.stdout.strip() == "set()"
