"""An artifact on the Hugging Face hub: `push=ORG/NAME`.

The repository is made private unless `push_private=false`, before the work starts, so that what is refused is refused
then; a repository that exists stays as visible as it is. It then holds the artifact and nothing else: its history keeps
what was there before. `predictions.parquet` goes along, which holds row ids, labels and logits, no texts.

The token is that of `HF_TOKEN` or of `hf auth login`, and stands in no configuration. `HF_ENDPOINT` names another hub.
"""

import re
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from pydantic import AfterValidator

from chirplet.artifact import Artifact, content_id
from chirplet.error import ArtifactError, ConfigError, PushError

if TYPE_CHECKING:
    from chirplet.stage.base import Run, Stage

MAKERS = ("finetune", "distill", "prune", "quantize")
"""Stages that make one artifact."""

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def _repository(name: str) -> str:
    if REPOSITORY.fullmatch(name) is None:
        raise ValueError(f"got {name!r}, should be ORG/NAME, a repository of yours on the hub")
    return name


Repository = Annotated[str, AfterValidator(_repository)]
"""A repository of the hub, ORG/NAME."""


def run_and_push(stage: "Stage", run: "Run", repository: str, private: bool) -> float | None:
    """Carry the stage out and put its artifact on the hub, which is asked first whether it will take it.

    Raises:
        ConfigError: the stage makes no artifact or several, or the hub will not take it.
        PushError: the hub did not take it after all.
    """
    name = type(stage).__module__.rpartition(".")[2]
    if name == "push":
        return stage.run(run)
    if name not in MAKERS:
        raise ConfigError(f"push: stage={name} makes no artifact of its own; give stage=push artifact=DIR for one")
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        raise ConfigError("push: got -m, whose runs would replace each other; give stage=push artifact=DIR for one")
    open_repository(repository, private)
    objective = stage.run(run)
    push(run.output_dir / "artifact", repository, private)
    return objective


def push_again(folder: Path, repository: str, private: bool) -> None:
    """Put an artifact that is there already on the hub.

    Raises:
        ConfigError, PushError: as `open_repository` and `push`.
    """
    open_repository(repository, private)
    push(folder, repository, private)


def open_repository(repository: str, private: bool) -> None:
    """See that the hub takes what is to be pushed, and make the repository where there is none.

    Raises:
        ConfigError: offline, no token, or the hub refuses it or cannot be reached.
    """
    from huggingface_hub import HfApi, constants, get_token

    if constants.HF_HUB_OFFLINE:
        raise ConfigError(f"push: got {repository!r}, but HF_HUB_OFFLINE is set; unset it, or leave push out")
    if get_token() is None:
        raise ConfigError(f"push: got {repository!r}, but there is no token; set HF_TOKEN or run hf auth login")
    try:
        HfApi().create_repo(repository, private=private, exist_ok=True)
    except Exception as error:  # the hub's HTTP library, and so its exceptions, changes between versions
        raise ConfigError(f"push: {repository} cannot be pushed to ({_reason(error)})") from error


def check_whole(folder: Path) -> None:
    """See that an artifact's files are those that its record was written for.

    Raises:
        ArtifactError: they are not.
    """
    if content_id(folder) != Artifact.open(folder).record.id:
        raise ArtifactError(
            f"artifact: {str(folder)!r} holds other files than those it was made with (its id differs); should be whole"
        )


def push(folder: Path, repository: str, private: bool) -> None:
    """Put the artifact into the repository, in place of what is there, and tell where it is.

    Raises:
        PushError: the hub did not take it; says the command that tries again.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    from chirplet.console import console, shown_path

    record = Artifact.open(folder).record
    message = f"{record.stage} ({record.method}) on {record.data.source}, {record.id[:12]}"
    api = HfApi()
    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="(?s).*about to commit a data file")
            api.upload_folder(
                repo_id=repository,
                folder_path=folder,
                commit_message=message,
                delete_patterns="*",
                ignore_patterns=".*",
            )
    except Exception as error:  # as above
        public = "" if private else " push_private=false"
        raise PushError(
            f"push: {repository} did not take it ({_reason(error)}); the artifact is whole, and "
            f"python run.py stage=push artifact={shown_path(folder)} push={repository}{public} tries again"
        ) from error
    console().print(f"pushed    {api.endpoint}/{repository}", highlight=False)


def _reason(error: Exception) -> str:
    """The kind of error and the beginning of its message, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
