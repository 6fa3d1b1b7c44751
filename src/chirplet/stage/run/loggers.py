"""Open the run's loggers, log its configuration and results, and close them with the run's exit code."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning_fabric.utilities.rank_zero import rank_zero_only
from pytorch_lightning.loggers import Logger

from chirplet.config.schema import Foreign
from chirplet.logger.base import End, Identity, LoggerSettings, Results, artifact_name, shows_pages
from chirplet.logger.delivery.guarded import GuardedLogger, one_line
from chirplet.stage.run.context import Run
from chirplet.sweep.trial.trial import Pruned
from chirplet.system.error import ConfigError, Interrupted, UserError

if TYPE_CHECKING:
    from chirplet.artifact.artifact import Ancestor, Artifact, Record
    from chirplet.data.base import Corpus

MOST = 64
"""Most characters of a W&B tag."""
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


@contextmanager
def open_loggers(
    run: Run,
    job_type: str,
    lineage: "Sequence[Ancestor]" = (),
    teachers: "Sequence[Record]" = (),
    for_pages: bool = False,
) -> Iterator[list[GuardedLogger]]:
    """Open the run's loggers, log the configuration, and close them on exit, also after an error.

    In distributed training only the first process calls this.

    Args:
        run: the run to log.
        job_type: the stage, or `label_only_baseline`.
        lineage: what the model was made from, base model first.
        teachers: records of the teachers, or of the compared artifacts.
        for_pages: open only loggers that show tables and pages.

    Raises:
        ConfigError: a logger cannot be started.
    """
    # Lightning's loggers write nothing on other ranks, and Lightning reads the rank from RANK, LOCAL_RANK and
    # SLURM_PROCID.
    rank_zero_only.rank = 0  # type: ignore[attr-defined]
    wanted = run.loggers
    if for_pages:
        wanted = {key: settings for key, settings in wanted.items() if shows_pages(settings)}
    made_from = [(one.stage, one.artifact) for one in lineage if one.stage is not None and one.artifact is not None]
    parents = [*made_from[-1:], *((teacher.stage, teacher.id) for teacher in teachers)]
    base = [Path(ancestor.name).name for ancestor in lineage[:1]]
    names = tuple(artifact_name(stage, id_) for stage, id_ in parents)
    identity = identify(run, job_type, tuple(tag[:MOST] for tag in (job_type, *base, run.data.name)), names)
    origin: dict[str, Any] = {
        "parents": [id_ for _, id_ in parents],
        "lineage": [ancestor.model_dump() for ancestor in lineage],
    }
    with ExitStack() as stack:
        loggers = [stack.enter_context(_open(key, settings, identity)) for key, settings in wanted.items()]
        used = {key: value for key, value in run.config.items() if key not in run.ignored}
        for logger in loggers:
            logger.log_hyperparams(used | origin)
        yield loggers


def log_artifact(
    loggers: Sequence[GuardedLogger], artifact: "Artifact", corpus: "Corpus", pages: Mapping[str, str] | None = None
) -> None:
    """Log the finished artifact's record and predictions, and further HTML `pages`, to every logger."""
    if not loggers:
        return
    from chirplet.logger.delivery.results import results_of

    log_results(loggers, results_of(artifact, corpus, pages or {}))


def log_results(loggers: Sequence[GuardedLogger], results: Results) -> None:
    """Log the results to every logger."""
    for logger in loggers:
        logger.log_results(results)


def identify(run: Run, job_type: str, tags: tuple[str, ...], parents: tuple[str, ...]) -> Identity:
    """The run's identity for loggers. Its group is the study of a sweep, otherwise the folder of the command."""
    folder, trial, study = run.output_dir, None, None
    if HydraConfig.initialized():
        hydra = HydraConfig.get()
        if hydra.mode == RunMode.MULTIRUN:
            folder, trial, study = Path(hydra.sweep.dir), hydra.job.num, hydra.sweeper.get("study_name")
        else:
            folder = Path(hydra.runtime.output_dir)
    parts = folder.absolute().parts[-2:]
    group = study or (" ".join(parts) if _DATE.fullmatch(parts[0]) else parts[-1])
    return Identity(run.output_dir, folder, group, job_type, trial, tags, parents)


def end_of(error: BaseException | None) -> End:
    """The end of a run that raised `error`, with the exit code of the command. A pruned trial ends with 0."""
    if error is None:
        return End(0, pruned=False)
    if isinstance(error, Pruned) or _is_optuna_pruned(error):
        return End(0, pruned=True)
    if isinstance(error, KeyboardInterrupt):
        return End(Interrupted.exit_code, pruned=False)
    if isinstance(error, SystemExit):
        return End(error.code if isinstance(error.code, int) else int(error.code is not None), pruned=False)
    return End(error.exit_code if isinstance(error, UserError) else 1, pruned=False)


def _is_optuna_pruned(error: BaseException) -> bool:
    """Whether one of Optuna's callbacks pruned the trial."""
    from optuna.exceptions import TrialPruned

    return isinstance(error, TrialPruned)


@contextmanager
def _open(key: str, settings: LoggerSettings | Foreign, identity: Identity) -> Iterator[GuardedLogger]:
    try:
        inner = settings.build(Logger) if isinstance(settings, Foreign) else settings.build(identity)
        getattr(inner, "experiment", None)  # Lightning's loggers start on the first access
    except UserError:
        raise
    except Exception as error:  # trackers raise exceptions of every kind
        raise ConfigError(
            f"logger.{key}: cannot be started ({one_line(error)}); ~logger.{key} leaves it out"
        ) from error
    logger = GuardedLogger(key, settings, inner)
    try:
        yield logger
    except BaseException as error:
        logger.close(end_of(error))
        raise
    logger.close(end_of(None))
