"""What MLflow is told, read back from its own store."""

import pytest

from chirplet.artifact.artifact import Artifact
from chirplet.cli.binding import parse
from chirplet.cli.experiment import execute, run_of
from chirplet.stage.run.loggers import open_loggers
from chirplet.sweep.trial.trial import Pruned
from chirplet.system.error import ConfigError, Interrupted

mlflow = pytest.importorskip("mlflow")


@pytest.fixture
def client(tmp_path):
    return mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow/mlflow.db")


def test_a_run_s_own_store_holds_the_record_and_how_runs_ended(configured, tmp_path, client, monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_LOGGING_LEVEL"):
        monkeypatch.delenv(name, raising=False)
    execute(configured("logger=mlflow", "logger.mlflow.tags=[mine]"), tmp_path)
    assert mlflow.utils.logging_utils.get_mlflow_log_level() == "ERROR", "it is read when mlflow is imported"
    artifact = Artifact.open(tmp_path / "artifact")
    run = run_of(parse(configured("logger=mlflow")), tmp_path, {})
    for error in (Interrupted, Pruned):
        with pytest.raises(error), open_loggers(run, error.__name__):
            raise error
    found = client.search_runs([client.get_experiment_by_name("chirplet").experiment_id])
    runs = {run.data.tags["job_type"]: run for run in found}
    done = runs["finetune"]
    told = {name: value for name, value in done.data.metrics.items() if name.startswith("record/")}
    assert told == pytest.approx({f"record/{name}": value for name, value in artifact.scalars().items()})
    assert len(client.get_metric_history(done.info.run_id, "train/batch_loss")) == 4
    assert done.data.params["stage/learning_rate"] == str(artifact.record.config["stage"]["learning_rate"])
    assert done.data.tags["tags"] == "finetune,encoder,csv,mine"
    assert done.data.tags["group"] == tmp_path.name
    assert done.data.tags["artifact"] == artifact.record.id
    tables = {file.path for file in client.list_artifacts(done.info.run_id, "confusion_matrix")}
    assert tables == {f"confusion_matrix/{split}.json" for split in ("train", "val", "test")}
    ends = {name: (run.info.status, run.data.tags["exit_code"]) for name, run in runs.items()}
    assert ends == {"finetune": ("FINISHED", "0"), "Interrupted": ("KILLED", "130"), "Pruned": ("FINISHED", "0")}
    assert runs["Pruned"].data.tags["pruned"] == "true"


def test_a_server_that_is_not_there_is_an_error(compose_config, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    run = run_of(parse(compose_config("logger=mlflow")), tmp_path, {})
    line = r"^logger.mlflow: cannot be started \(MlflowException: .*127\.0\.0\.1.*\); ~logger.mlflow leaves it out$"
    with pytest.raises(ConfigError, match=line), open_loggers(run, "finetune"):
        pass
