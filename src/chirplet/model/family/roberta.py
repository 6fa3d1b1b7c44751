"""RoBERTa (Liu et al. 2019, arXiv 1907.11692), the architecture of BERTweet, XLM-R and CamemBERT too."""

from typing import TYPE_CHECKING, Any

from chirplet.model.family.base import Head
from chirplet.model.family.bert import Bert

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PretrainedConfig, PreTrainedModel


class Roberta(Bert):
    """BERT without a pooler, with a head of two linear layers, and with positions counted from after the padding id."""

    def position_offset(self, config: "PretrainedConfig") -> int:
        # As in fairseq: rows up to the padding id are unused.
        return 1 + (1 if config.pad_token_id is None else int(config.pad_token_id))

    def head(self, model: "PreTrainedModel") -> Head:
        parts: Any = model
        return Head(parts.classifier.dense, parts.classifier.out_proj)

    def head_logits(self, model: "PreTrainedModel", first: "Tensor") -> "Tensor":
        parts: Any = model
        logits: Tensor = parts.classifier(first[:, None])
        return logits
