"""A model without its weights, by which stages are checked before any of them runs."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chirplet.model.pretrained import Pretrained
from chirplet.system.error import ArtifactError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Blueprint:
    """A model's configuration and tokenizer.

    `final` is false for a tokenizer that will have lost tokens when the model is made; its kind is the same. `runtime`
    is what will compute the model.
    """

    config: "PretrainedConfig"
    tokenizer: "PreTrainedTokenizerBase"
    final: bool = True
    runtime: str = "pytorch"

    def parameters(self) -> int:
        """Number of parameters at least: without word embeddings if tokens will be lost. The weights take no memory.

        0 if the sizes fit no model, which is reported when it is opened.
        """
        import torch
        from transformers import AutoModelForSequenceClassification

        from chirplet.model.family import family_of
        from chirplet.model.loading.quiet import quiet

        try:
            with quiet(), torch.device("meta"):
                model = AutoModelForSequenceClassification.from_config(self.config, trust_remote_code=False)
        except Exception:  # transformers raises exceptions of every kind
            return 0
        lost = 0 if self.final else family_of(model).word_embeddings(model).weight.numel()
        return int(model.num_parameters()) - lost

    def check_weights(self, key: str) -> None:
        """Check that the model will have weights that a stage can change; `key` names it in the message.

        Raises:
            ArtifactError: it is for another runtime than PyTorch.
        """
        if self.runtime != "pytorch":
            raise ArtifactError(
                f"{key}: got a model for {self.runtime}, should be for pytorch; "
                "start from the artifact that it is made from"
            )


def blueprint_of(settings: Pretrained, weights: bool = True) -> Blueprint:
    """The blueprint of the model that the settings describe. It is downloaded if necessary.

    Raises:
        ModelError: configuration, tokenizer, or with `weights` the weights, are missing, damaged or not supported.
    """
    from chirplet.model.loading.checkpoint import checkpoint_folder, weight_files
    from chirplet.model.loading.open import open_config, shape_changes
    from chirplet.model.loading.tokenizer import load_tokenizer

    folder = checkpoint_folder(settings)
    if settings.pretrained and weights:
        weight_files(settings, folder)
    changes = shape_changes(settings, open_config(settings, folder))
    return Blueprint(open_config(settings, folder, **changes), load_tokenizer(settings))
