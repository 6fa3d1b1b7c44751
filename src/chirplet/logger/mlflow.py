"""Metrics for MLflow."""

import logging
import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from chirplet.logger.base import End, Identity, LoggerSettings, Results, Sheet
from chirplet.system.error import ConfigError, Interrupted

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger

PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
"""MLflow itself would let training wait for a server that is gone for minutes."""


class MlflowSettings(LoggerSettings):
    """A run in the store that `MLFLOW_TRACKING_URI` names, else in `FOLDER/mlflow.db` below the command's folder.

    The stages of a chain and the trials of a sweep share that store, which takes MLflow some seconds to make. What
    MLflow calls an experiment is `experiment`; runs of one command or study have the tag `group` in common.
    """

    shows_pages = True

    experiment: str
    folder: str
    name: str | None
    tags: list[str]
    mistakes: bool
    upload: bool

    def build(self, identity: Identity) -> "Logger":
        """Lightning's MLflow logger.

        Raises:
            ConfigError: mlflow is not installed.
        """
        if find_spec("mlflow") is None:
            raise ConfigError("logger.mlflow: mlflow is not installed; pip install 'chirplet[mlflow]'")
        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)
        from pytorch_lightning.loggers import MLFlowLogger

        for library in ("mlflow", "alembic", "pytorch_lightning.loggers.mlflow"):
            logging.getLogger(library).setLevel(logging.ERROR)  # they log every table that is made
        uri, place = os.environ.get("MLFLOW_TRACKING_URI"), None
        if not uri:
            folder = (identity.command_dir / self.folder).absolute()
            folder.mkdir(parents=True, exist_ok=True)
            uri, place = f"sqlite:///{folder}/mlflow.db", (folder / "artifacts").as_uri()
        return MLFlowLogger(
            experiment_name=self.experiment,
            run_name=self.name or identity.name,
            tracking_uri=uri,
            artifact_location=place,
            tags=_tags(identity, self.tags),
        )

    def show(self, logger: "Logger", results: Results) -> None:
        """Tables as JSON, pages as HTML; the artifact itself where it may be uploaded."""
        client, run = _client(logger)
        sheets = {f"confusion_matrix/{split}": sheet for split, sheet in results.confusion_sheets().items()}
        sheets |= results.sheets
        if self.mistakes:
            sheets |= {f"worst_mistakes/{split}": sheet for split, sheet in results.mistakes.items()}
        for name, sheet in sheets.items():
            client.log_dict(run, _split(sheet), f"{name}.json")
        for name, text in results.pages.items():
            client.log_text(run, text, f"{name}.html")
        if results.artifact is not None:
            client.set_tag(run, "artifact", results.artifact.record.id)
            if self.upload:
                client.log_artifacts(run, str(results.artifact.folder), "artifact")

    def close(self, logger: "Logger", end: End) -> None:
        """End the run, as killed where it was interrupted."""
        client, run = _client(logger)
        client.set_tag(run, "exit_code", str(end.exit_code))
        if end.pruned:
            client.set_tag(run, "pruned", "true")
        logger.finalize("KILLED" if end.exit_code == Interrupted.exit_code else end.status)


def _client(logger: "Logger") -> tuple[Any, str]:
    from pytorch_lightning.loggers import MLFlowLogger

    assert isinstance(logger, MLFlowLogger) and logger.run_id is not None
    return logger.experiment, logger.run_id


def _tags(identity: Identity, more: list[str]) -> dict[str, str]:
    """MLflow's tags have values; the names alone stand together in one."""
    values = {"group": identity.group, "job_type": identity.job_type, "tags": ",".join([*identity.tags, *more])}
    if identity.trial is not None:
        values["trial"] = str(identity.trial)
    if identity.parents:
        values["parents"] = ",".join(identity.parents)
    return values


def _split(sheet: Sheet) -> dict[str, Any]:
    """As `mlflow.load_table` reads it."""
    return {"columns": sheet.columns, "data": sheet.rows}
