"""A model without its weights, by which stages are checked before any of them runs."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chirplet.model.pretrained import Pretrained

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Blueprint:
    """A model's configuration and tokenizer.

    `final` is false for a tokenizer that will have lost tokens when the model is made; its kind is the same.
    """

    config: "PretrainedConfig"
    tokenizer: "PreTrainedTokenizerBase"
    final: bool = True


def blueprint_of(settings: Pretrained) -> Blueprint:
    """The blueprint of the model that the settings describe. It is downloaded if necessary.

    Raises:
        ModelError: configuration or tokenizer is missing, damaged or not supported.
    """
    from chirplet.model.family import family_of
    from chirplet.model.loading.checkpoint import checkpoint_folder
    from chirplet.model.loading.open import open_config
    from chirplet.model.loading.tokenizer import load_tokenizer

    folder, shape = checkpoint_folder(settings), settings.shape
    stored = open_config(settings, folder)
    family = family_of(stored)
    changes = family.size_changes(shape.hidden_size, shape.heads, shape.intermediate_size)
    layers = {} if shape.layers is None else family.layer_changes(stored, range(shape.layers))
    return Blueprint(open_config(settings, folder, **changes, **layers), load_tokenizer(settings))
