"""Tokens that train tweets never use go, from the embedding table and the tokenizer together.

Single bytes and characters and special tokens stay, so that every word can still be spelt. A tweet all of whose tokens
were kept, none of them unknown, is read as before (`chirplet.pruner.tokenizer` says why), and has the same logits.
"""

from typing import TYPE_CHECKING

from chirplet.config import Count
from chirplet.pruner.base import Evidence, Pruned, Pruner

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Vocabulary(Pruner):
    """Keeps tokens that stand `min_count` times or more in train tweets, uncut."""

    min_count: Count

    def check(self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> None:
        from chirplet.pruner.tokenizer import check_kind

        check_kind(tokenizer)

    def prune(self, model: "PreTrainedModel", evidence: Evidence) -> Pruned:
        import numpy as np

        from chirplet.pruner.embedding import keep_rows
        from chirplet.pruner.mask import zeros_of
        from chirplet.pruner.tokenizer import keep_tokens

        before = model.config.vocab_size
        counts = np.bincount(evidence.uncut().values, minlength=before)
        tokenizer, kept = keep_tokens(evidence.tokenizer, np.flatnonzero(counts >= self.min_count))
        keep_rows(model, kept)
        facts = {"tokens": len(kept), "tokens_before": before}
        return Pruned(model, tokenizer, zeros_of(model), facts)
