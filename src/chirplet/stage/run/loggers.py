"""The run's loggers: told who they are, what was found, and always closed with the right exit code."""

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
"""Characters of a tag that W&B takes."""
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


@contextmanager
def open_loggers(
    run: Run,
    job_type: str,
    lineage: "Sequence[Ancestor]" = (),
    teachers: "Sequence[Record]" = (),
    for_pages: bool = False,
) -> Iterator[list[GuardedLogger]]:
    """The run's loggers, told the configuration at the start and closed at the end, each also after a failure.

    Of several processes that train together, the first alone comes here.

    Args:
        run: whose they are.
        job_type: the stage, or `control`.
        lineage: what the model was made from, base model first.
        teachers: records of what it learns from, or of what is compared.
        for_pages: only those that have a use for tables and pages.

    Raises:
        ConfigError: one that was asked for cannot be started.
    """
    # Lightning's loggers write nothing where this is not 0, and it takes what RANK, LOCAL_RANK or SLURM_PROCID say.
    rank_zero_only.rank = 0  # type: ignore[attr-defined]
    wanted = run.loggers
    if for_pages:
        wanted = {key: settings for key, settings in wanted.items() if shows_pages(settings)}
    made_from = [(one.stage, one.artifact) for one in lineage if one.stage is not None and one.artifact is not None]
    parents = [*made_from[-1:], *((teacher.stage, teacher.id) for teacher in teachers)]
    base = [Path(ancestor.name).name for ancestor in lineage[:1]]
    names = tuple(artifact_name(stage, id_) for stage, id_ in parents)
    identity = identify(run, job_type, tuple(tag[:MOST] for tag in (job_type, *base, run.data.name)), names)
    told: dict[str, Any] = {
        "parents": [id_ for _, id_ in parents],
        "lineage": [ancestor.model_dump() for ancestor in lineage],
    }
    with ExitStack() as stack:
        loggers = [stack.enter_context(_open(key, settings, identity)) for key, settings in wanted.items()]
        for logger in loggers:
            logger.log_hyperparams(run.config | told)
        yield loggers


def log_artifact(
    loggers: Sequence[GuardedLogger], artifact: "Artifact", corpus: "Corpus", pages: Mapping[str, str] | None = None
) -> None:
    """Tell every logger what the finished artifact's record and predictions hold, and the HTML `pages` beside it."""
    if not loggers:
        return
    from chirplet.logger.delivery.results import results_of

    log_results(loggers, results_of(artifact, corpus, pages or {}))


def log_results(loggers: Sequence[GuardedLogger], results: Results) -> None:
    """Tell every logger."""
    for logger in loggers:
        logger.log_results(results)


def identify(run: Run, job_type: str, tags: tuple[str, ...], parents: tuple[str, ...]) -> Identity:
    """What loggers call the run: its group is the study of a sweep, else the folder of the whole command."""
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
    """How a run ended that raised `error`: with the exit code that the command has.

    A trial that its pruner ended did what it was meant to, and ends with 0.
    """
    if error is None:
        return End(0, pruned=False)
    if isinstance(error, Pruned) or _is_optunas(error):
        return End(0, pruned=True)
    if isinstance(error, KeyboardInterrupt):
        return End(Interrupted.exit_code, pruned=False)
    if isinstance(error, SystemExit):
        return End(error.code if isinstance(error.code, int) else int(error.code is not None), pruned=False)
    return End(error.exit_code if isinstance(error, UserError) else 1, pruned=False)


def _is_optunas(error: BaseException) -> bool:
    """Whether a callback of Optuna's own ended the trial."""
    from optuna.exceptions import TrialPruned

    return isinstance(error, TrialPruned)


@contextmanager
def _open(key: str, settings: LoggerSettings | Foreign, identity: Identity) -> Iterator[GuardedLogger]:
    try:
        inner = settings.build(Logger) if isinstance(settings, Foreign) else settings.build(identity)
        getattr(inner, "experiment", None)  # Lightning's start when they are first asked for it
    except UserError:
        raise
    except Exception as error:  # a tracker's trouble is of every kind
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
