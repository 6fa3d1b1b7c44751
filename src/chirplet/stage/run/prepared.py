"""A corpus with its task and tokenizer."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from chirplet.data.base import Corpus, Examples
from chirplet.data.batching.token_cache import cached_tokens
from chirplet.data.batching.token_counts import TokenCounter, TokenCounts
from chirplet.data.batching.tokens import Tokens
from chirplet.data.preparation.normalizers import Cleaning
from chirplet.evaluation.evaluator import Evaluator
from chirplet.model.pretrained import Pretrained
from chirplet.stage.run.context import Run
from chirplet.task.base import Task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Prepared:
    """A corpus with its task, its tokenizer, and how texts are cleaned and truncated."""

    corpus: Corpus
    task: Task
    tokenizer: "PreTrainedTokenizerBase"
    cleaning: Cleaning
    max_length: int
    cache_dir: Path

    @classmethod
    def for_model(cls, settings: Pretrained, tokenizer: "PreTrainedTokenizerBase", corpus: Corpus, run: Run) -> Self:
        """The corpus of a run, cleaned and truncated as the settings of a model say."""
        return cls(corpus, run.task, tokenizer, settings.cleaning, settings.max_length, run.cache_dir)

    @property
    def pad_id(self) -> int:
        """Token id that fills short rows of a batch."""
        pad_id = self.tokenizer.pad_token_id
        assert isinstance(pad_id, int)
        return pad_id

    def tokens(self, examples: Examples) -> Tokens:
        """The texts' token ids, from the cache."""
        return cached_tokens(examples, self.tokenizer, self.cleaning, self.max_length, self.cache_dir)

    @cached_property
    def counts(self) -> TokenCounts:
        """Counts of the tokens of train and validation texts."""
        count = TokenCounter(self.tokenizer, self.max_length)
        return count(self.tokens(self.corpus.train)) + count(self.tokens(self.corpus.val))

    def evaluator(self, texts: Examples, batch_size: int) -> Evaluator:
        """An evaluator of models on these texts of the corpus."""
        targets = self.task.targets(texts)
        return Evaluator(self.task, self.tokens(texts), targets, self.corpus.labels, self.pad_id, batch_size)

    def sample(self) -> Tokens:
        """The texts that speed is measured on: validation texts, or train texts if there are none."""
        return self.tokens(self.corpus.val if len(self.corpus.val) else self.corpus.train)
