"""Explore the texts of a data set; trains nothing."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from chirplet.config.schema import Count, Index, Settings
from chirplet.data.base import SPLITS, Corpus, Split
from chirplet.data.batching.token_counts import TokenCounter, TokenCounts
from chirplet.data.batching.tokens import UNCUT
from chirplet.logger.base import Results, shows_pages
from chirplet.stage.base import Stage
from chirplet.stage.run.context import Run
from chirplet.system.atomic_io import write_text_atomically
from chirplet.system.console import console
from chirplet.system.progress import Progress

if TYPE_CHECKING:
    from chirplet.data.preparation.exploration import Exploration

PAGE = "explore.html"


class Explore(Stage):
    """How much of the data to show. Lengths are in tokens of the chosen `model`, after its cleaning."""

    also_takes: ClassVar[tuple[str, ...]] = ("model",)

    top: Count
    samples_per_class: Index

    def parts(self, run: Run) -> Iterator[Settings]:
        yield from (self, run.data, run.model, *filter(shows_pages, run.loggers.values()))

    def check(self, run: Run) -> None:
        """Check the parts of the run, and the model's configuration and tokenizer."""
        super().check(run)
        from chirplet.model.loading.blueprint import blueprint_of

        blueprint_of(run.model, weights=False)

    def run(self, run: Run) -> None:
        """Print tables, write one page with figures, and print its path."""
        from chirplet.data.preparation.prepare import prepare
        from chirplet.report.exploration import page, tables

        corpus = prepare(run.data, run.cache_dir)
        with Progress("exploring"):
            exploration, counts = self.explore(run, corpus)
        target = run.output_dir / PAGE
        shown = page(exploration, run.model.name_or_path, run.model.cleaning)
        write_text_atomically(shown, target)
        if any(map(shows_pages, run.loggers.values())):
            from chirplet.stage.run.loggers import log_results, open_loggers

            with open_loggers(run, "explore", for_pages=True) as loggers:
                log_results(loggers, Results(pages={"explore": shown}))
        out = console()
        for table in tables(exploration):
            if table.row_count:
                out.print(table)
        long = "they would be truncated (model.max_length)"
        for note in sum(counts.values(), TokenCounts()).notes(run.model.max_length, long, run.model.cleaning):
            out.print(f"texts     {note}", highlight=False)
        out.print(f"page      {target}")
        out.print("next      the same command with stage=finetune")

    def explore(self, run: Run, corpus: Corpus) -> "tuple[Exploration, dict[Split, TokenCounts]]":
        """Tokenize every split; its statistics, and the counts of its tokens."""
        from chirplet.data.batching.token_cache import cached_tokens
        from chirplet.data.preparation.exploration import explore
        from chirplet.model.loading.tokenizer import load_tokenizer

        tokenizer = load_tokenizer(run.model)
        tokens = {
            split: cached_tokens(corpus.split(split), tokenizer, run.model.cleaning, UNCUT, run.cache_dir)
            for split in SPLITS
        }
        count = TokenCounter(tokenizer, run.model.max_length)
        counts = {split: count(each) for split, each in tokens.items()}
        seen = explore(
            corpus,
            {split: each.lengths for split, each in tokens.items()},
            {split: each.unknown_share for split, each in counts.items()},
            run.model.max_length,
            self.top,
            self.samples_per_class,
        )
        return seen, counts
