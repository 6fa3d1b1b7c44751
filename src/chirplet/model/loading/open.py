"""Open a checkpoint's files with transformers, with one-line errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PretrainedConfig

from chirplet.model.family import family_of
from chirplet.model.loading.foreign_code import refuse_code
from chirplet.model.loading.quiet import quiet
from chirplet.model.loading.sizes import check_sizes
from chirplet.model.pretrained import NAME, Pretrained
from chirplet.system.error import ModelError, UserError, kind_and_message


@contextmanager
def opening(settings: Pretrained) -> Iterator[None]:
    """Silence transformers, and turn its exceptions into a one-line error that names the checkpoint."""
    try:
        with quiet():
            yield
    except UserError:
        raise
    except Exception as error:  # on damaged files transformers raises exceptions of every kind
        message = f": {settings.name_or_path} cannot be opened ({kind_and_message(error)})"
        raise ModelError(NAME, message) from error


def open_config(settings: Pretrained, folder: Path, **changes: Any) -> PretrainedConfig:
    """The checkpoint's configuration with `changes`.

    Raises:
        ModelError: it is missing or damaged, or of an unsupported architecture.
    """
    if not (folder / "config.json").is_file():
        raise ModelError(NAME, f": {settings.name_or_path} has no config.json")
    refuse_code(folder)
    check_sizes(folder)
    with opening(settings):
        config: PretrainedConfig = AutoConfig.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True, **changes
        )
        try:
            family_of(config)
        except ModelError as error:
            raise ModelError(NAME, f": {settings.name_or_path} is not supported ({error})") from error
    return config


def shape_changes(settings: Pretrained, stored: PretrainedConfig) -> dict[str, Any]:
    """The keys of `config.json` that `settings.shape` changes.

    Raises:
        ModelError: the family has no models with so many layers.
    """
    family, shape = family_of(stored), settings.shape
    changes: dict[str, Any] = family.size_changes(shape.hidden_size, shape.heads, shape.intermediate_size)
    if shape.layers is None:
        return changes
    try:
        return changes | family.layer_changes(stored, range(shape.layers))
    except ModelError as error:
        raise ModelError(*error.renamed({"layers": "model.shape.layers"}).parts) from error
