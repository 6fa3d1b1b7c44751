"""What a run gets: its parts and folders; and types of keys that stages share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator

from chirplet.artifact.artifact import Artifact, check_folder
from chirplet.callback.base import CallbackSettings
from chirplet.config.schema import Foreign, existing_file
from chirplet.data.base import Corpus, Source
from chirplet.logger.base import LoggerSettings
from chirplet.metric.names import check_labels
from chirplet.model.loading.blueprint import Blueprint
from chirplet.model.pretrained import Pretrained
from chirplet.stage.run.identity import Inputs
from chirplet.system.error import ArtifactError, ConfigError
from chirplet.task.base import Task
from chirplet.trainer import TrainerSettings


def _with_record(folder: str) -> str:
    try:
        return str(check_folder(Path(folder).expanduser()))
    except ArtifactError as error:
        raise ValueError(str(error)) from None


ArtifactFolder = Annotated[str, AfterValidator(_with_record)]
"""The folder of an artifact."""
AUTO = "auto"
"""`resume`: from the newest checkpoint of the same run in its folder, if there is one."""


def _auto_or_file(resume: str) -> str:
    what = "auto, null, or a checkpoint (.ckpt) of an interrupted run"
    return resume if resume == AUTO else existing_file(resume, what)


Checkpoint = Annotated[str, AfterValidator(_auto_or_file)]
"""The file of a checkpoint, or `AUTO`."""


def given_artifact(folder: str | None) -> str:
    """The folder that `artifact=` names.

    Raises:
        ArtifactError: none is named.
    """
    if folder is None:
        raise ArtifactError("artifact: is missing; give artifact=DIR, as the stage that made it printed")
    return folder


def check_given(wanted: Mapping[str, tuple[object, str]]) -> None:
    """See that keys that a stage cannot do without have a value; each comes with what to give.

    Raises:
        ConfigError: some are null.
    """
    missing = [f"{key}: is missing; give {key}={what}" for key, (value, what) in wanted.items() if value is None]
    if missing:
        raise ConfigError("\n".join(missing))


@dataclass(frozen=True)
class Run:
    """One run: the parts that its configuration describes, and its folders.

    `output_dir` is the folder Hydra made for this run, `cache_dir` is shared between runs. `config` is the resolved
    configuration as plain data, for the record, `ignored` are its keys that the stage does not use, and `inputs` is
    what the run's identity is made of; `verify` is whether models answer their probe when they are opened; `overrides`
    are what it was composed of, as the record shows them. `compose` gives a further run of the same data, model and
    trainer, with other overrides below the command line's; `compose_comparison` one that compares; `compose_data` the
    data that an artifact was made from, if it knows them.
    """

    model: Pretrained
    data: Source
    task: Task
    trainer: TrainerSettings
    loggers: dict[str, LoggerSettings | Foreign]
    callbacks: dict[str, CallbackSettings | Foreign]
    seed: int
    deterministic: bool
    objective: str
    verify: bool
    output_dir: Path
    cache_dir: Path
    config: dict[str, Any]
    ignored: frozenset[str]
    inputs: Inputs
    overrides: list[str]
    compose: "Callable[[Sequence[str], Sequence[str]], Composed]"
    compose_comparison: "Callable[[Sequence[Path], Sequence[str]], Composed]"
    compose_data: "Callable[[Artifact], Source | None]"

    def corpus(self) -> Corpus:
        """The prepared texts.

        Raises:
            DataError: a file is missing or not valid.
            ConfigError: a metric of a label that the texts do not have is monitored.
        """
        from chirplet.data.preparation.prepare import prepare

        corpus = prepare(self.data, self.cache_dir)
        monitors = {"objective": self.objective}
        for name, entry in self.callbacks.items():
            monitors[f"callback.{name}.monitor"] = getattr(entry, "monitor", self.objective)
        check_labels(monitors, corpus.labels)
        return corpus

    @property
    def artifact_folder(self) -> Path:
        """Where the run's artifact goes."""
        return self.output_dir / "artifact"


@dataclass(frozen=True)
class Composed:
    """A configuration that is valid, and may be carried out in a folder; `inputs` is what its identity is made of.

    `check_parts` and `check_start` are those of the stage. `check_start` takes the folder, and the models that the run
    starts from; without them it opens the base model.
    """

    inputs: Inputs
    check_parts: Callable[[], None]
    check_start: Callable[[Path, Sequence[Blueprint]], Blueprint]
    run: Callable[[Path], float | None]
