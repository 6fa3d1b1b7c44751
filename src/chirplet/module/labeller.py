"""An artifact that labels tweets."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification

from chirplet.artifact import Artifact, Record
from chirplet.data.repair import repair
from chirplet.data.tokens import tokenize
from chirplet.error import ModelError
from chirplet.model.pretrained import Pretrained
from chirplet.model.quiet import quiet
from chirplet.model.tokenizer import load_tokenizer
from chirplet.module.inference import predict_logits

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Labeller:
    """A model with the tokenizer, cleaning and labels its record tells of."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    record: Record
    batch_size: int
    bf16: bool

    @classmethod
    def open(cls, artifact: Artifact, device: torch.device, batch_size: int, bf16: bool) -> Self:
        """Load the model and the tokenizer of an artifact onto `device`; `batch_size` counts tweets.

        Raises:
            ModelError: weights or tokenizer are missing, damaged or incomplete.
        """
        model = _load_model(artifact.folder, artifact.record.labels).to(device)  # type: ignore[arg-type]
        tokenizer = load_tokenizer(_as_pretrained(artifact))
        return cls(model.eval(), tokenizer, artifact.record, batch_size, bf16)

    def probabilities(self, texts: list[str]) -> NDArray[np.float64]:
        """The probability of each label for each tweet as it was written; shape (n, classes), rows sum to 1.

        The text is repaired, cleaned and cut as it was in training.
        """
        if self.record.config["data"]["repair"]:
            texts = [repair(text)[0] for text in texts]
        tokens = tokenize(texts, self.tokenizer, self.record.cleaning, self.record.max_length)
        pad_id = self.tokenizer.pad_token_id
        assert isinstance(pad_id, int)
        logits = predict_logits(self.model, tokens, pad_id, self.batch_size, self.bf16)
        return torch.from_numpy(logits).double().softmax(dim=1).numpy()


def _load_model(folder: Path, labels: list[str]) -> "PreTrainedModel":
    try:
        with quiet():
            model, info = AutoModelForSequenceClassification.from_pretrained(
                folder,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except Exception as error:  # on damaged files transformers raises exceptions of every kind
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"artifact: {str(folder)!r} cannot be opened ({type(error).__name__}: {reason})") from error
    # transformers draws what is missing at random and goes on.
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise ModelError(f"artifact: {str(folder)!r} lacks {len(missing)} weights ({missing[0]}, ...)")
    if model.config.num_labels != len(labels):
        raise ModelError(
            f"artifact: the model in {str(folder)!r} has {model.config.num_labels} classes, its record {len(labels)}"
        )
    loaded: PreTrainedModel = model
    return loaded


def _as_pretrained(artifact: Artifact) -> Pretrained:
    return Pretrained(
        name_or_path=str(artifact.folder),
        revision=None,
        pretrained=artifact.record.pretrained,
        cleaning=artifact.record.cleaning,
        max_length=artifact.record.max_length,
        dropout=0.0,
        classifier_dropout=0.0,
        attention="sdpa",
    )
