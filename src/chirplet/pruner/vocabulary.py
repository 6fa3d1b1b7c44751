"""Remove tokens that train texts do not use from the embedding table and the tokenizer.

Single bytes and characters and special tokens are kept, so that every word can still be tokenized. A text whose tokens
were all kept, none of them unknown, is tokenized as before (see `chirplet.pruner.tokens.tokenizer`) and has the same
logits. Other texts are split into more pieces, in which the model may never have seen the word. A token is therefore
also kept if its removal changes a class probability of the token as a text by more than `max_shift`.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from chirplet.config.schema import Count, Probability
from chirplet.model.loading.blueprint import Blueprint
from chirplet.pruner.base import Pruned, Pruner
from chirplet.pruner.masking.calibration import CalibrationData

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Vocabulary(Pruner):
    """Keeps tokens with at least `min_count` occurrences in untruncated train texts, and those by `max_shift`."""

    min_count: Count
    max_shift: Probability | None

    def check(self, model: Blueprint) -> Blueprint:
        from chirplet.pruner.tokens.embedding import check_padding
        from chirplet.pruner.tokens.tokenizer import always_kept

        check_padding(model.config, always_kept(model.tokenizer))
        return replace(model, final=False)

    def prune(self, model: "PreTrainedModel", calibration: CalibrationData) -> Pruned:
        import numpy as np

        from chirplet.pruner.masking.masks import zeros_of
        from chirplet.pruner.tokens.embedding import keep_rows
        from chirplet.pruner.tokens.spelling import shifts
        from chirplet.pruner.tokens.tokenizer import keep_tokens

        before = model.config.vocab_size
        counts = np.bincount(calibration.uncut().values, minlength=before)
        used = np.flatnonzero(counts >= self.min_count)
        tokenizer, kept = keep_tokens(calibration.tokenizer, used)
        facts = {"tokens_before": before, "tokens_used": len(used)}
        if self.max_shift is not None:
            lost, changes = shifts(calibration.task, model, calibration.tokenizer, tokenizer, kept)
            influential = lost[changes > self.max_shift]
            tokenizer, kept = keep_tokens(calibration.tokenizer, [*used, *influential])
            facts["tokens_that_tell"] = len(influential)
        keep_rows(model, kept)
        return Pruned(model, tokenizer, zeros_of(model), facts | {"tokens": len(kept)})
