"""Base class of logger settings, and the data that loggers receive."""

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
    """Identifies a run before it starts.

    Attributes:
        output_dir: folder of the run.
        command_dir: folder of the whole command, for files that its runs share: that of a chain or sweep, else
            `output_dir`.
        group: the study of a sweep, or the runs of one command.
        job_type: the stage.
        trial: number of the trial in a sweep.
        tags: method, model and data.
        parents: names, by `artifact_name`, of the artifacts from which the run starts, and of its teachers.
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
    """Results of a stage, computed once for the record and all loggers.

    Attributes:
        scalars: numbers named `record/SPLIT/METRIC` and `record/cost/NAME`; training logs `SPLIT/METRIC` itself.
        step: the optimizer step of the results.
        labels: names of the classes.
        confusions: counts by split, rows true, columns predicted.
        mistakes: the worst mistakes by split, with their texts.
        sheets: further tables by name.
        pages: HTML by name.
        artifact: the artifact.
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
        """The confusion matrices as tables, by split."""
        return {
            split: Sheet(
                ["true", *self.labels], [[label, *row] for label, row in zip(self.labels, counts, strict=True)]
            )
            for split, counts in self.confusions.items()
        }


@dataclass(frozen=True)
class End:
    """How a run ended; a trial that the pruner stopped did not fail, so its exit code is 0."""

    exit_code: int
    pruned: bool

    @property
    def status(self) -> str:
        """The status in the terms of Lightning's loggers."""
        return "success" if self.exit_code == 0 else "failed"


class LoggerSettings(Settings, ABC):
    """Settings that build one Lightning logger, and log results that Lightning does not handle."""

    shows_pages: ClassVar[bool] = False
    """Whether the logger shows tables and pages, which stages without training produce."""

    @abstractmethod
    def build(self, identity: Identity) -> "Logger":
        """Build the Lightning logger, which writes below the identity's folder; imports Lightning."""

    def show(self, logger: "Logger", results: Results) -> None:
        """Log the results except their scalars, which every logger gets."""

    def close(self, logger: "Logger", end: End) -> None:
        """Write buffered data and end the logger's run."""
        logger.finalize(end.status)

    def abandon(self, logger: "Logger") -> None:
        """Release the resources of a logger that failed; may raise."""


def shows_pages(settings: object) -> bool:
    """Whether a logger with these settings shows tables and pages; does not import Lightning."""
    return isinstance(settings, LoggerSettings) and settings.shows_pages


def artifact_name(stage: str, identity: str) -> str:
    """The name of an artifact in a tracker, from its stage and id."""
    return f"{stage}-{identity[:12]}"
