"""RoBERTa (Liu et al. 2019, arXiv 1907.11692), the architecture of BERTweet, XLM-R, CamemBERT and data2vec too."""

from typing import TYPE_CHECKING

from chirplet.model.family.bert import TwoLayerHead

if TYPE_CHECKING:
    from transformers import PretrainedConfig


class Roberta(TwoLayerHead):
    """BERT with a head of two linear layers, and with positions counted from after the padding id."""

    counts_from_padding = True

    def position_offset(self, config: "PretrainedConfig") -> int:
        # As in fairseq: rows up to the padding id are unused.
        return 1 + (1 if config.pad_token_id is None else int(config.pad_token_id))
