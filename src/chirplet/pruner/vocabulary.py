"""Tokens that train texts never use go, from the embedding table and the tokenizer together.

Single bytes and characters and special tokens stay, so that every word can still be spelt. A text all of whose tokens
were kept, none of them unknown, is read as before (see `chirplet.pruner.tokens.tokenizer`) and has the same logits.
Others are spelt in more pieces, which the model may never have seen spell that word: what moves its answer by more than
`max_shift` when it is spelt so, alone, is kept too, though train has it not.
"""

from typing import TYPE_CHECKING

from chirplet.config.schema import Count, Probability
from chirplet.pruner.base import Pruned, Pruner
from chirplet.pruner.masking.calibration import CalibrationData

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Vocabulary(Pruner):
    """Keeps tokens that stand `min_count` times or more in train texts, uncut, and those that `max_shift` tells of."""

    min_count: Count
    max_shift: Probability | None

    def check(self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> None:
        from chirplet.pruner.tokens.tokenizer import check_kind

        check_kind(tokenizer)

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
            lost, moved = shifts(calibration.task, model, calibration.tokenizer, tokenizer, kept)
            telling = lost[moved > self.max_shift]
            tokenizer, kept = keep_tokens(calibration.tokenizer, [*used, *telling])
            facts["tokens_that_tell"] = len(telling)
        keep_rows(model, kept)
        return Pruned(model, tokenizer, zeros_of(model), facts | {"tokens": len(kept)})
