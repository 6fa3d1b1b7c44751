"""Download checkpoints from the Hugging Face hub as folders."""

from pathlib import Path

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from chirplet.model.pretrained import GROUP, NAME
from chirplet.system.atomic_io import NO_LOCKS
from chirplet.system.error import Key, ModelError, kind_and_message
from chirplet.system.error_messages import ACCESS_ERRORS

TOKENIZER_FILES = ["*.json", "vocab.txt", "merges.txt", "bpe.codes", "*.model"]
WEIGHT_FILES = ["model.safetensors", "model-*-of-*.safetensors"]


def download(name: str, revision: str | None, weights: bool) -> Path:
    """Download a hub model. Returns its folder in the local cache, whose name is the commit hash.

    Only safetensors are downloaded, never pickles. transformers' loader is not used, because for a repository without
    safetensors it would ask a web service to convert them, and load another revision than the one given.

    Raises:
        ModelError: the hub cannot be reached, or has no such model or revision.
    """
    patterns = TOKENIZER_FILES + (WEIGHT_FILES if weights else [])
    problem: tuple[str, ...]
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except GatedRepoError:
        problem = NAME, f": {name} is gated; accept its terms on huggingface.co and set HF_TOKEN"
    except RepositoryNotFoundError:
        problem = NAME, f": the hub has no model {name!r} (for a private one, set HF_TOKEN)"
    except RevisionNotFoundError:
        problem = Key("model.revision"), f": got {revision!r}, should be a revision of {name}"
    except LocalEntryNotFoundError:
        reason = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub cannot be reached"
        problem = (
            *(NAME, f": {_with_revision(name, revision)} is neither a folder nor in the cache, and {reason}; "),
            *("offline work ", GROUP, "=minilm and ", GROUP, "=local ", NAME, "=FOLDER"),
        )
    except Exception as error:  # exceptions depend on the HTTP library, which changes between versions of the hub
        problem = NAME, f": {name} cannot be downloaded from the hub ({kind_and_message(error)})"
        if isinstance(error, OSError) and error.errno in ACCESS_ERRORS | NO_LOCKS:
            remedy = "set HF_HOME to a folder you own, on a disk with free space and file locks"
            problem = (f"{constants.HF_HUB_CACHE}: {name} cannot be stored there ({error.strerror}); {remedy}",)
    raise ModelError(*problem)


def _with_revision(name: str, revision: str | None) -> str:
    return name if revision is None else f"{name} at revision {revision}"
