"""Log to MLflow."""

import logging
import os
from typing import TYPE_CHECKING, Any

from chirplet.logger.base import End, Identity, LoggerSettings, Results, Sheet
from chirplet.system.error import Interrupted

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger

VARIABLES = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # by default, training would wait for minutes for a server that is away
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_LOGGING_LEVEL": "ERROR",  # by default, the creation of the store is logged
}
"""Variables of MLflow, which it reads when it is imported; those that the user has set stay."""


class MlflowSettings(LoggerSettings):
    """Logs a run to the store `MLFLOW_TRACKING_URI`, else to `FOLDER/mlflow.db` below the command's folder.

    The stages of a chain and the trials of a sweep share the store, which MLflow needs some seconds to create.
    `experiment` is the name of MLflow's experiment; the runs of one command or study share the tag `group`.
    """

    extra = "mlflow"
    shows_pages = True

    experiment: str
    folder: str
    name: str | None
    tags: list[str]
    mistakes: bool
    upload: bool

    def build(self, identity: Identity) -> "Logger":
        """Build Lightning's MLflow logger."""
        for name, value in VARIABLES.items():
            os.environ.setdefault(name, value)
        from pytorch_lightning.loggers import MLFlowLogger

        logging.getLogger("pytorch_lightning.loggers.mlflow").setLevel(logging.ERROR)  # it logs a new experiment
        uri, location = os.environ.get("MLFLOW_TRACKING_URI"), None
        if not uri:
            folder = (identity.command_dir / self.folder).absolute()
            folder.mkdir(parents=True, exist_ok=True)
            uri, location = f"sqlite:///{folder}/mlflow.db", (folder / "artifacts").as_uri()
        return MLFlowLogger(
            experiment_name=self.experiment,
            run_name=self.name or identity.name,
            tracking_uri=uri,
            artifact_location=location,
            tags=_tags(identity, self.tags),
        )

    def show(self, logger: "Logger", results: Results) -> None:
        """Log tables as JSON, pages as HTML, and with `upload` the artifact."""
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
        """End the run, with the status KILLED if it was interrupted."""
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
    """Tags with their values; the names without value are joined in the tag `tags`."""
    tags = {"group": identity.group, "job_type": identity.job_type, "tags": ",".join([*identity.tags, *more])}
    if identity.trial is not None:
        tags["trial"] = str(identity.trial)
    if identity.parents:
        tags["parents"] = ",".join(identity.parents)
    return tags


def _split(sheet: Sheet) -> dict[str, Any]:
    """The table in the format of `mlflow.load_table`."""
    return {"columns": sheet.columns, "data": sheet.rows}
