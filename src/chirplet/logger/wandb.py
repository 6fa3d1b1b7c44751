"""Log to Weights & Biases."""

import logging
import netrc
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from chirplet.config.schema import Positive
from chirplet.logger.base import End, Identity, LoggerSettings, Results, artifact_name
from chirplet.system.error import ConfigError, first_line

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger

    from chirplet.artifact.artifact import Artifact

log = logging.getLogger(__name__)

STEP = "trainer/global_step"
"""Name of the optimizer step in Lightning's logger."""

ID_CHARACTERS = 128
_NOT_IN_ID = re.compile(r"[/\\#?%:]")
"""Most characters of a W&B id, and those that it may not have."""


class WandbSettings(LoggerSettings):
    """Logs a W&B run. The key comes from `WANDB_API_KEY` or `wandb login`, never from the configuration.

    Without a key, with `WANDB_MODE=offline`, or if W&B cannot be reached within `start_timeout_s`, the run is stored
    locally and can be sent later with `wandb sync`; so is all data that is not sent within `finish_timeout_s` after the
    run. W&B receives the load of the machine, but no command line, host name, user name or console output.
    """

    extra = "wandb"
    shows_pages = True

    project: str
    name: str | None
    group: str | None
    tags: list[str]
    mistakes: bool
    upload: bool
    start_timeout_s: Positive
    finish_timeout_s: Positive

    def build(self, identity: Identity) -> "Logger":
        """Build Lightning's W&B logger with its run, which writes below the identity's folder.

        Raises:
            ConfigError: the key is refused.
        """
        from pytorch_lightning.loggers import WandbLogger
        from wandb.errors import AuthenticationError, CommError

        folder = identity.output_dir
        mode = os.environ.get("WANDB_MODE")
        if mode is None and not has_key():
            mode = "offline"
            log.warning("no W&B key (WANDB_API_KEY, or `wandb login`): the run is stored in %s/wandb", folder)
        try:
            run = self._started(identity, mode)
        except AuthenticationError as error:
            raise ConfigError(
                f"logger.wandb: W&B refused the key ({first_line(error)}); WANDB_MODE=offline needs none"
            ) from error
        except CommError as error:
            log.warning("W&B cannot be reached (%s): the run is stored in %s/wandb", first_line(error), folder)
            run = self._started(identity, "offline")
        run.define_metric(STEP)
        run.define_metric("*", step_metric=STEP, step_sync=True)
        if self.upload and not run.offline:
            self._link(run, identity.parents)
        return WandbLogger(experiment=run, save_dir=str(folder))

    def show(self, logger: "Logger", results: Results) -> None:
        """Log confusion matrices, mistakes, tables and pages, and with `upload` the artifact."""
        import wandb

        run = cast(Any, logger).experiment
        shown: dict[str, Any] = {
            f"confusion_matrix/{split}": _confusion(results, split) for split in results.confusions
        }
        sheets = dict(results.sheets)
        if self.mistakes:
            sheets |= {f"worst_mistakes/{split}": sheet for split, sheet in results.mistakes.items()}
        shown |= {name: wandb.Table(columns=[*sheet.columns], data=sheet.rows) for name, sheet in sheets.items()}
        shown |= {name: wandb.Html(text, inject=False, data_is_not_path=True) for name, text in results.pages.items()}
        if shown:
            run.log(shown | {STEP: results.step})
        if results.artifact is not None:
            run.summary["artifact"] = results.artifact.record.id
            if self.upload:
                run.log_artifact(_packed(results.artifact))

    def close(self, logger: "Logger", end: End) -> None:
        """End the W&B run, which Lightning leaves open."""
        super().close(logger, end)
        run = cast(Any, logger).experiment
        if end.pruned:
            run.tags = (*(run.tags or ()), "pruned")
            run.summary["pruned"] = True
        try:
            run.finish(exit_code=end.exit_code)
        except TimeoutError:
            log.warning(
                "W&B did not receive all data in %g s; to send the rest: `wandb sync %s`",
                self.finish_timeout_s,
                run.dir,
            )

    def abandon(self, logger: "Logger") -> None:
        """End the run as failed.

        If W&B's service process has exited, discard it, so that the next run starts a new one and Python's exit does
        not wait for it.
        """
        import wandb

        try:
            cast(Any, logger).experiment.finish(exit_code=1)
        except Exception:  # W&B raises many classes
            wandb.teardown()

    def _started(self, identity: Identity, mode: str | None) -> Any:
        import wandb

        settings = wandb.Settings(
            console="off",
            disable_git=True,
            finish_timeout=self.finish_timeout_s,
            finish_timeout_raises=True,
            host="",
            init_timeout=self.start_timeout_s,
            save_code=False,
            silent=True,
            x_disable_machine_info=True,
            x_disable_meta=True,
            x_save_requirements=False,
        )
        given = os.environ.get("WANDB_RUN_ID")
        return wandb.init(
            id=None if given is None else run_id(given, identity),
            project=self.project,
            name=self.name or identity.name,
            group=self.group or (identity.group if given is None or identity.trial is not None else given),
            job_type=identity.job_type,
            tags=[*identity.tags, *self.tags],
            dir=identity.output_dir,
            mode=mode,  # type: ignore[arg-type]
            settings=settings,
            # A student's run is still open while its label-only baseline is trained.
            reinit="create_new",
        )

    def _link(self, run: Any, parents: tuple[str, ...]) -> None:
        """Link the run with its parents in W&B, if they were uploaded."""
        from wandb.errors import CommError

        for parent in parents:
            try:
                run.use_artifact(f"{parent}:latest")
            except (CommError, ValueError) as error:
                log.warning("W&B cannot link the artifact %s (%s)", parent, first_line(error))


def run_id(given: str, identity: Identity) -> str:
    """The W&B id of a run, where the command was given one, for example by `wandb agent`.

    The run in the command's own folder has the given id. Steps of a chain, runs of a multirun and the label-only
    baseline have the name of their folder behind it, so that the same command continues the same runs.
    """
    folder, command = identity.output_dir.absolute(), identity.command_dir.absolute()
    below = folder.relative_to(command).parts if folder.is_relative_to(command) else (folder.name,)
    if not below and identity.job_type == "label_only_baseline":  # a notebook's command has no folder of its own
        below = (identity.job_type,)
    return _NOT_IN_ID.sub("_", "-".join((given, *below)))[:ID_CHARACTERS]


def has_key() -> bool:
    """Whether there is a key in the environment or in the file of `wandb login`."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        return netrc.netrc(path).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _confusion(results: Results, split: str) -> Any:
    """W&B's chart of a confusion matrix, made from counts."""
    import wandb

    rows = [
        [true, predicted, count]
        for true, counts in zip(results.labels, results.confusions[split], strict=True)
        for predicted, count in zip(results.labels, counts, strict=True)
    ]
    names = ["Actual", "Predicted", "nPredictions"]
    return wandb.plot_table(
        vega_spec_name="wandb/confusion_matrix/v1",
        data_table=wandb.Table(columns=[*names], data=rows),
        fields={name: name for name in names},
        string_fields={"title": f"Confusion matrix on {split}"},
    )


def _packed(artifact: "Artifact") -> Any:
    import wandb

    record = artifact.record
    packed = wandb.Artifact(
        artifact_name(record.stage, record.id),
        type="model",
        metadata={"id": record.id, "parent": record.parent, "method": record.method, "data": record.data.source},
    )
    packed.add_dir(str(artifact.folder), policy="immutable")
    return packed
