"""RoBERTa (Liu et al. 2019, arXiv 1907.11692); BERTweet, XLM-R and CamemBERT are of the same architecture."""

from typing import TYPE_CHECKING, Any

from chirplet.model.family.base import Head
from chirplet.model.family.bert import Bert

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PretrainedConfig, PreTrainedModel


class Roberta(Bert):
    """BERT without a pooler, whose head has two linear layers, and which counts positions from behind the padding."""

    def position_offset(self, config: "PretrainedConfig") -> int:
        # As fairseq does: the row of the padding's id stays empty.
        return 1 + (1 if config.pad_token_id is None else int(config.pad_token_id))

    def head(self, model: "PreTrainedModel") -> Head:
        parts: Any = model
        return Head(parts.classifier.dense, parts.classifier.out_proj)

    def head_logits(self, model: "PreTrainedModel", first: "Tensor") -> "Tensor":
        parts: Any = model
        logits: Tensor = parts.classifier(first[:, None])
        return logits
