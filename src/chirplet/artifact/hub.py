"""Upload an artifact to the Hugging Face hub: `push=ORG/NAME`.

The repository is created before the run starts, so that errors are reported early; it is private unless
`push_private=false`. An existing repository keeps its visibility, and must be empty or contain an artifact. The files
of that artifact are replaced and stay in the history; other files are not changed. `predictions.parquet` is uploaded
too; it contains row ids, labels and logits, but no texts. Files outside the artifact's folder are never uploaded.

The token comes from `HF_TOKEN` or `hf auth login`, never from the configuration. `HF_ENDPOINT` sets another hub.
"""

import glob
import json
import re
import sys
import tempfile
import warnings
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from chirplet.artifact.artifact import RECORD, Artifact, content_id
from chirplet.system.command_line import command, override_of
from chirplet.system.console import console, shown_path
from chirplet.system.error import ArtifactError, ConfigError, PushError, kind_and_message
from chirplet.system.links import link_outside

WRITTEN = (
    *("artifact.json", "README.md", "probe.json", "predictions.parquet", "label_only_baseline.parquet", "config.json"),
    *("model.safetensors", "model_int8.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json"),
    *("model.onnx", "openvino_model.xml", "openvino_model.bin"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "vocab.txt", "merges.txt", "bpe.codes", "sentencepiece.bpe.model", "spiece.model"),
    "spm.model",
)
"""Names of an artifact's files. Only these are deleted in a repository."""

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def _repository(name: str) -> str:
    if REPOSITORY.fullmatch(name) is None:
        raise ValueError(f"got {name!r}, should be ORG/NAME, a repository on the hub")
    return name


Repository = Annotated[str, AfterValidator(_repository)]
"""A repository of the hub, ORG/NAME."""


def push_existing(folder: Path, repository: str, private: bool) -> None:
    """Upload an existing artifact to the hub.

    Raises:
        ConfigError, PushError: see `open_repository` and `push`.
    """
    open_repository(repository, private)
    push(folder, repository, private)


def open_repository(repository: str, private: bool) -> None:
    """Check that the artifact can be pushed, and create the repository if it does not exist.

    Raises:
        ConfigError: offline mode, no token, the hub refuses or cannot be reached, or the repository contains files but
            no artifact.
    """
    from huggingface_hub import HfApi, constants, get_token

    if constants.HF_HUB_OFFLINE:
        raise ConfigError(f"push: got {repository!r}, but HF_HUB_OFFLINE is set; unset it, or leave push out")
    if get_token() is None:
        raise ConfigError(f"push: got {repository!r}, but there is no token; set HF_TOKEN or run hf auth login")
    try:
        HfApi().create_repo(repository, private=private, exist_ok=True)
        _files_there(repository)
    except ConfigError:
        raise
    except Exception as error:  # the hub's HTTP library, and so its exceptions, changes between versions
        raise ConfigError(f"push: {repository} cannot be pushed to ({kind_and_message(error)})") from error


def _files_there(repository: str) -> list[str]:
    """The files of the repository, which is empty or contains an artifact.

    Raises:
        ConfigError: it has files but no artifact; a push could replace them.
    """
    from huggingface_hub import HfApi

    files = [name for name in HfApi().list_repo_files(repository) if name != ".gitattributes"]
    if files and not (RECORD in files and _is_record(repository)):
        some = ", ".join(sorted(files)[:3]) + (", ..." if len(files) > 3 else "")
        raise ConfigError(
            f"push: {repository} has {some}, but no valid {RECORD}; "
            "should be a new name, an empty repository, or one with an artifact"
        )
    return files


def _is_record(repository: str) -> bool:
    """Whether the repository's `artifact.json` is a record of any version."""
    from huggingface_hub import HfApi

    with tempfile.TemporaryDirectory() as folder:
        path = Path(HfApi().hf_hub_download(repository, RECORD, local_dir=folder))
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            return False
    return isinstance(content, dict) and {"schema_version", "id", "stage", "lineage"} <= content.keys()


def check_complete(folder: Path) -> None:
    """Check that an artifact's files match its record and are inside its folder.

    Raises:
        ArtifactError: they do not match, or a link points elsewhere.
    """
    outside = link_outside(folder, hub_cache=False)
    if outside is not None:
        raise ArtifactError(
            f"artifact: {str(folder)!r} has {outside}, a link to something outside that folder; should be a file, "
            "as in a copy by cp -rL"
        )
    if content_id(folder) != Artifact.open(folder).record.id:
        raise ArtifactError(
            f"artifact: {str(folder)!r} was changed after it was made (its id differs); should be unchanged"
        )


def push(folder: Path, repository: str, private: bool) -> None:
    """Upload the artifact, replacing the one in the repository, and print its address.

    Files of the repository that do not belong to an artifact (`WRITTEN`) are not changed.

    Raises:
        ArtifactError: the artifact's files do not match its record.
        PushError: the upload failed; the message has the command to try again.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    check_complete(folder)
    record = Artifact.open(folder).record
    message = f"{record.stage} ({record.method}) on {record.data.source}, {record.id[:12]}"
    api = HfApi()
    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="(?s).*about to commit a data file")
            # Listed again, because the run may have taken days.
            replaced = [glob.escape(name) for name in _files_there(repository) if is_written(name)]
            api.upload_folder(
                repo_id=repository,
                folder_path=folder,
                commit_message=message,
                delete_patterns=replaced,
                ignore_patterns=".*",
            )
    except ConfigError:
        raise
    except Exception as error:  # see `open_repository`
        public = [] if private else ["push_private=false"]
        again = command("stage=push", override_of("artifact", shown_path(folder)), f"push={repository}", *public)
        raise PushError(
            f"push: the upload to {repository} failed ({kind_and_message(error)}); the artifact is complete; "
            f"try again: {again}"
        ) from error
    console().print(f"pushed    {api.endpoint}/{repository}", highlight=False)


def is_written(name: str) -> bool:
    """Whether a file of a repository has the name of an artifact's file."""
    return any(fnmatchcase(name, pattern) for pattern in WRITTEN) and "/" not in name
