"""An artifact on the Hugging Face hub: `push=ORG/NAME`.

The repository is made private unless `push_private=false`, before the work starts, so that what is refused is refused
then. One that exists stays as visible as it is, and must be empty or hold an artifact. The files of that artifact are
replaced, and its history keeps them; other files stay. `predictions.parquet` goes along, which holds row ids, labels
and logits, no texts. Nothing is uploaded that lies outside the artifact's folder.

The token is that of `HF_TOKEN` or of `hf auth login`, and stands in no configuration. `HF_ENDPOINT` names another hub.
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
from chirplet.system.console import console, shown_path
from chirplet.system.error import ArtifactError, ConfigError, PushError, kind_and_message
from chirplet.system.links import link_outside

WRITTEN = (
    *("artifact.json", "README.md", "probe.json", "predictions.parquet", "label_only_baseline.parquet", "config.json"),
    *("model.safetensors", "model_int8.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json"),
    *("model.onnx", "openvino_model.xml", "openvino_model.bin"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "vocab.txt", "merges.txt", "bpe.codes", "sentencepiece.bpe.model", "spiece.model"),
)
"""Names of the files that artifacts are made of. Only these are deleted in a repository; others are its owner's."""

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def _repository(name: str) -> str:
    if REPOSITORY.fullmatch(name) is None:
        raise ValueError(f"got {name!r}, should be ORG/NAME, a repository of yours on the hub")
    return name


Repository = Annotated[str, AfterValidator(_repository)]
"""A repository of the hub, ORG/NAME."""


def push_existing(folder: Path, repository: str, private: bool) -> None:
    """Put an artifact that is there already on the hub.

    Raises:
        ConfigError, PushError: as `open_repository` and `push`.
    """
    open_repository(repository, private)
    push(folder, repository, private)


def open_repository(repository: str, private: bool) -> None:
    """See that the hub takes what is to be pushed, and make the repository where there is none.

    Raises:
        ConfigError: offline, no token, the hub refuses it or cannot be reached, or the repository holds something else
            than an artifact.
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
    """What the repository holds, where that is nothing, or an artifact and files of its owner.

    Raises:
        ConfigError: it holds something else, which a push could replace.
    """
    from huggingface_hub import HfApi

    files = [name for name in HfApi().list_repo_files(repository) if name != ".gitattributes"]
    if files and not (RECORD in files and _is_record(repository)):
        some = ", ".join(sorted(files)[:3]) + (", ..." if len(files) > 3 else "")
        raise ConfigError(
            f"push: {repository} holds {some} and no {RECORD} of chirplet's; "
            "should be a new name, an empty repository, or one that an artifact was pushed to"
        )
    return files


def _is_record(repository: str) -> bool:
    """Whether the repository's `artifact.json` is a record, of whatever version."""
    from huggingface_hub import HfApi

    with tempfile.TemporaryDirectory() as folder:
        path = Path(HfApi().hf_hub_download(repository, RECORD, local_dir=folder))
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            return False
    return isinstance(content, dict) and {"schema_version", "id", "stage", "lineage"} <= content.keys()


def check_complete(folder: Path) -> None:
    """See that an artifact's files are those that its record was written for, and lie in its folder.

    Raises:
        ArtifactError: they are not, or do not.
    """
    outside = link_outside(folder, hub_cache=False)
    if outside is not None:
        raise ArtifactError(
            f"artifact: {str(folder)!r} holds {outside}, a link to what is no file of that folder; should be a file, "
            "as in a copy by cp -rL"
        )
    if content_id(folder) != Artifact.open(folder).record.id:
        raise ArtifactError(
            f"artifact: {str(folder)!r} holds other files than those it was made with (its id differs); should be whole"
        )


def push(folder: Path, repository: str, private: bool) -> None:
    """Put the artifact into the repository, in place of the one that is there, and print where it is.

    Files of the repository that are no artifact's (`WRITTEN`) stay.

    Raises:
        ArtifactError: its files are not those that it was made with.
        PushError: the hub did not take it; says the command that tries again.
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
            # Asked again: a run may have taken days since.
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
    except Exception as error:  # as above
        public = "" if private else " push_private=false"
        raise PushError(
            f"push: {repository} did not take it ({kind_and_message(error)}); the artifact is whole, and "
            f"python run.py stage=push artifact={shown_path(folder)} push={repository}{public} tries again"
        ) from error
    console().print(f"pushed    {api.endpoint}/{repository}", highlight=False)


def is_written(name: str) -> bool:
    """Whether a file of a repository is called as one of an artifact's."""
    return any(fnmatchcase(name, pattern) for pattern in WRITTEN) and "/" not in name
