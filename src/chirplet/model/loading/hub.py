"""Checkpoints of the Hugging Face hub: fetched as a folder, so that they open like any other."""

from pathlib import Path

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from chirplet.model.pretrained import GROUP, NAME
from chirplet.system.error import Key, ModelError, kind_and_message

TOKENIZER_FILES = ["*.json", "vocab.txt", "merges.txt", "bpe.codes", "*.model"]
WEIGHT_FILES = ["model.safetensors", "model-*-of-*.safetensors"]


def download(name: str, revision: str | None, weights: bool) -> Path:
    """The folder of a hub model in the local cache; its name is the commit hash.

    Only safetensors are fetched, never pickles. transformers' own loader is not asked, because where a
    repository has no safetensors it would have a web service convert them and take another revision than the
    one named.

    Raises:
        ModelError: the hub cannot be reached, or knows no such model or revision.
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
        problem = Key("model.revision"), f": got {revision!r}, {name} has no such revision"
    except LocalEntryNotFoundError:
        reason = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub cannot be reached"
        problem = (
            *(NAME, f": {_with_revision(name, revision)} is neither a folder nor in the cache, and {reason}; "),
            *("offline work ", GROUP, "=minilm and ", GROUP, "=local ", NAME, "=FOLDER"),
        )
    except Exception as error:  # the hub's HTTP library, and so its exceptions, changes between versions
        problem = NAME, f": {name} cannot be fetched from the hub ({kind_and_message(error)})"
    raise ModelError(*problem)


def _with_revision(name: str, revision: str | None) -> str:
    return name if revision is None else f"{name} at revision {revision}"
