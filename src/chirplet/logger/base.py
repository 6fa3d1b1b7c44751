"""Settings of loggers, and what is logged."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from chirplet.config.schema import Settings

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger

    from chirplet.artifact.artifact import Artifact


@dataclass(frozen=True)
class Identity:
    """What identifies a run before it starts.

    `command_dir` is the folder of the whole command, for what its runs share: a chain's, a sweep's, else `output_dir`.
    `group` is what belongs together: a sweep's study, or the runs of one command. `job_type` is the stage, `trial` its
    number in a sweep. `parents` name the artifacts that it starts or learns from, as `artifact_name` does.
    """

    output_dir: Path
    command_dir: Path
    group: str
    job_type: str
    trial: int | None
    tags: tuple[str, ...]
    parents: tuple[str, ...]

    @property
    def name(self) -> str:
        """`STAGE`, in a sweep with the trial's number."""
        return self.job_type if self.trial is None else f"{self.job_type} {self.trial}"


@dataclass(frozen=True)
class Sheet:
    """A table: column names, and rows of plain values."""

    columns: list[str]
    rows: list[list[Any]]


@dataclass(frozen=True)
class Results:
    """What a stage has found, computed once for the record and all loggers.

    `scalars` are named `record/SPLIT/METRIC` and `record/cost/NAME`, since `SPLIT/METRIC` is what training saw on its
    way. `step` is the optimizer step they belong to. `confusions` are counts by split, rows true, columns predicted.
    `mistakes` are the worst of each split that they are shown of, with the texts' texts. `pages` are HTML by name.
    """

    scalars: Mapping[str, float] = field(default_factory=dict)
    step: int = 0
    labels: Sequence[str] = ()
    confusions: Mapping[str, Sequence[Sequence[int]]] = field(default_factory=dict)
    mistakes: Mapping[str, Sheet] = field(default_factory=dict)
    sheets: Mapping[str, Sheet] = field(default_factory=dict)
    pages: Mapping[str, str] = field(default_factory=dict)
    artifact: "Artifact | None" = None

    def confusion_sheets(self) -> dict[str, Sheet]:
        """The confusions as tables, by split."""
        return {
            split: Sheet(
                ["true", *self.labels], [[label, *row] for label, row in zip(self.labels, counts, strict=True)]
            )
            for split, counts in self.confusions.items()
        }


@dataclass(frozen=True)
class End:
    """How a run ended; a trial that the pruner ended did not fail, so that its exit code is 0."""

    exit_code: int
    pruned: bool

    @property
    def status(self) -> str:
        """As Lightning's loggers call it."""
        return "success" if self.exit_code == 0 else "failed"


class LoggerSettings(Settings, ABC):
    """Settings that build one Lightning logger, and log what Lightning does not."""

    shows_pages: ClassVar[bool] = False
    """Whether it has a use for what stages that train nothing find: tables and pages."""

    @abstractmethod
    def build(self, identity: Identity) -> "Logger":
        """The Lightning logger, writing below the identity's folder; imports Lightning.

        Raises:
            ConfigError: the logger's library is not installed; the line names the extra that brings it.
        """

    def show(self, logger: "Logger", results: Results) -> None:
        """Log everything in `results` but the scalars, which every logger gets."""

    def close(self, logger: "Logger", end: End) -> None:
        """Write what is still held back and end the logger's run."""
        logger.finalize(end.status)

    def abandon(self, logger: "Logger") -> None:
        """Let go of what a logger that failed still holds; may raise."""


def shows_pages(settings: object) -> bool:
    """Whether a logger of these settings has a use for tables and pages; to be known before Lightning is imported."""
    return isinstance(settings, LoggerSettings) and settings.shows_pages


def artifact_name(stage: str, identity: str) -> str:
    """What an artifact is called in a tracker, from its stage and id."""
    return f"{stage}-{identity[:12]}"
