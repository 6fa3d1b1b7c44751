"""Compare artifacts: a table for each data set, all figures as CSV, and one HTML page."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from chirplet.artifact.artifact import RECORD, Artifact
from chirplet.artifact.find import find_artifacts
from chirplet.config.schema import Count, Fraction, Settings, as_list
from chirplet.data.base import Corpus, Source
from chirplet.data.batching.tokens import tokenize
from chirplet.logger.base import Results, Sheet, shows_pages
from chirplet.stage.base import CostAccelerator, Stage
from chirplet.stage.run.context import Run
from chirplet.system.atomic_io import write_text_atomically
from chirplet.system.console import console, shown_path
from chirplet.system.error import ArtifactError, ConfigError, DataError
from chirplet.system.hardware import cpu_flags, cpu_name
from chirplet.system.progress import Progress

if TYPE_CHECKING:
    from chirplet.report.candidates import Candidate, Group
    from chirplet.report.comparison import Comparison
    from chirplet.report.comparison_page import Section, Texts

logger = logging.getLogger(__name__)

CSV, MARKDOWN, PAGE = "comparison.csv", "comparison.md", "report.html"


class Compare(Stage):
    """Comparison of artifacts. `conf/stage/compare.yaml` describes each key.

    Figures, intervals and p-values are computed from the artifacts alone. The data that they were made from provides
    the texts on the page (`texts`) and the texts that speed is measured on (`measure`).
    """

    artifacts: str | list[str] | None
    baseline: str | None
    split: Literal["val", "test"] | None
    acceptable_drop: Fraction
    texts: bool
    measure: bool
    cost_accelerator: CostAccelerator
    rounds: Count

    def parts(self, run: Run) -> Iterator[Settings]:
        yield from (self, *filter(shows_pages, run.loggers.values()))
        if self.measure and self.cost_accelerator == "trainer":
            yield run.trainer

    def check(self, run: Run) -> None:
        """Check the parts of the run and, to measure speed, the runtime of each artifact."""
        if self.artifacts is None:
            raise ConfigError(
                "artifacts: is missing; give artifacts=[DIR,DIR], or a pattern: artifacts='outputs/**/artifact'"
            )
        super().check(run)
        if self.measure:
            from chirplet.runtime.open import check_runtime

            for folder in find_artifacts(as_list(self.artifacts)):
                check_runtime(folder, "artifacts")

    def run(self, run: Run) -> float | None:
        """Read, compare, write `comparison.csv`, `comparison.md` and `report.html`, and print a table per data set."""
        from chirplet.report.candidates import open_candidates
        from chirplet.report.comparison import advise, compare
        from chirplet.report.comparison_page import Section

        groups = open_candidates(find_artifacts(as_list(self.artifacts)), self.split)
        baselines = self._baselines(groups)
        corpora = self._corpora(groups, run) if self.texts or self.measure else [None] * len(groups)
        sections = []
        for group, baseline, corpus in zip(groups, baselines, corpora, strict=True):
            measured = self.measure and corpus is not None
            if self.measure and corpus is not None:
                candidates = _measured(group.candidates, corpus, run, self.rounds, self.cost_accelerator)
            else:
                candidates = [_with_size(candidate) for candidate in group.candidates]
            with Progress("comparing"):
                comparison = compare(replace(group, candidates=candidates), baseline, run.seed, interleaved=measured)
            texts = _texts(comparison, corpus) if self.texts and corpus is not None else None
            sections.append(Section(comparison, advise(comparison, self.acceptable_drop), texts))
        report = _finish(sections, run.output_dir)
        _log_results([section.comparison for section in sections], report, run)
        return None

    def _baselines(self, groups: "Sequence[Group]") -> list[str | None]:
        """The baseline of each group; None where `baseline` names an artifact of another group."""
        from chirplet.report.comparison import has_baseline

        wanted = self._baseline([candidate for group in groups for candidate in group.candidates])
        known = [wanted is not None and has_baseline(group, wanted) for group in groups]
        return [wanted if here or not any(known) else None for here in known]

    def _baseline(self, candidates: "Sequence[Candidate]") -> str | None:
        """The name of the candidate that `baseline` gives as a folder or as its name in the table."""
        if self.baseline is None:
            return None
        folder = Path(self.baseline).expanduser().resolve()
        named = next((one.name for one in candidates if one.artifact.folder.resolve() == folder), None)
        if named is None and (folder / RECORD).is_file():  # a copy of a candidate, which chains make
            identity = Artifact.open(folder).record.id
            named = next((one.name for one in candidates if one.record.id == identity), None)
        return self.baseline if named is None else named

    def _corpora(self, groups: "Sequence[Group]", run: Run) -> list[Corpus | None]:
        """The corpus of each group; None, with a note, where one of several groups has none.

        Raises:
            ArtifactError: of a single group, or with data settings on the command line that fit no group.
        """
        corpora: list[Corpus | None] = []
        faults: list[ArtifactError | ConfigError | DataError] = []
        for group in groups:
            try:
                corpora.append(self._corpus(group, run))
            except (ArtifactError, ConfigError, DataError) as error:
                corpora.append(None)
                faults.append(error)
        if faults and len(faults) == len(groups):
            raise faults[0]
        for fault in faults:
            console().print(f"note      without texts and new speeds: {fault}", highlight=False)
        return corpora

    def _corpus(self, group: "Group", run: Run) -> Corpus:
        """The corpus of a group, from the run's data or else from its own, unless the command line names data."""
        first = group.candidates[0]
        named = any(override.startswith(("data=", "data.")) for override in run.overrides)
        try:
            try:
                return _fitting(first, run.data, run)
            except ArtifactError:
                own = None if named else run.compose_data(first.artifact)
                if own is None:
                    raise
                return _fitting(first, own, run)
        except (ArtifactError, ConfigError) as error:
            without = "" if self.measure else ", or stage.texts=false for a report without the texts themselves"
            raise type(error)(f"{error}{without}") from None


def _fitting(candidate: "Candidate", source: Source, run: Run) -> Corpus:
    """The corpus of a source.

    Raises:
        ArtifactError: the candidate was not made from it.
    """
    from chirplet.data.preparation.prepare import prepare
    from chirplet.stage.run.compatibility import check_data

    made_from = candidate.record.data.source
    if made_from != source.name:  # before anything is fetched
        raise ArtifactError(
            f"data: got {source.name}, should be {made_from}, which {candidate.name!r} of artifacts= was made from; "
            f"give data={made_from} with its settings"
        )
    corpus = prepare(source, run.cache_dir)
    check_data(candidate.artifact, corpus, run, key="artifacts")
    return corpus


def _finish(sections: "Sequence[Section]", folder: Path) -> str:
    """Write the files, print the tables and the files' paths, and return the page."""
    from chirplet.report.comparison_csv import as_csv
    from chirplet.report.comparison_page import page
    from chirplet.report.comparison_table import advice_line, comparison_table, markdown, notes

    comparisons = [section.comparison for section in sections]
    contents = {CSV: as_csv(comparisons), MARKDOWN: markdown(comparisons), PAGE: page(sections)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in contents.items():
            write_text_atomically(text, folder / name)
    except OSError as error:
        raise ArtifactError(f"could not write to {str(folder)!r}: {error.strerror}") from error
    out = console()
    for section in sections:
        comparison, advice = section.comparison, section.advice
        out.print(comparison_table(comparison))
        for line in [*notes(comparison), *([] if advice is None else [advice_line(comparison, advice)])]:
            out.print(line)
    out.print(f"table     {shown_path(folder / CSV)}")
    out.print(f"report    {shown_path(folder / PAGE)}")
    return contents[PAGE]


def _log_results(comparisons: "Sequence[Comparison]", report: str, run: Run) -> None:
    """Log the comparisons to loggers that show pages; those of several data sets have its name in theirs."""
    if not any(map(shows_pages, run.loggers.values())):
        return
    from chirplet.report.comparison_page import front_pages
    from chirplet.stage.run.loggers import log_results, open_loggers

    rows = [(one.data, row) for one in comparisons for row in one.rows]
    records = [candidate.record for _, row in rows for candidate in row.candidates]
    with open_loggers(run, "compare", teachers=records, for_pages=True) as loggers:
        names = list(dict.fromkeys(name for _, row in rows for name in row.figures))
        table = [[row.name, data, *(row.figures.get(name) for name in names)] for data, row in rows]
        pages = {"report": report}
        for one in comparisons:
            suffix = "" if len(comparisons) == 1 else f"/{one.data}"
            pages |= {f"{name}{suffix}": page for name, page in front_pages(one).items()}
        log_results(loggers, Results(sheets={"comparison": Sheet(["run", "data", *names], table)}, pages=pages))


def _measured(
    candidates: "Sequence[Candidate]", corpus: Corpus, run: Run, rounds: int, where: CostAccelerator
) -> "list[Candidate]":
    """The candidates with size and speed measured again, interleaved, on this machine.

    What was measured is added to records of this machine that have no speed: a chain measures its steps here alone.
    """
    from chirplet.evaluation.cost import Timed, count_bytes, time_interleaved, timed_on
    from chirplet.evaluation.parameter_count import count_parameters
    from chirplet.stage.output.write_artifact import add_cost
    from chirplet.stage.run.parent import prepared

    models = []
    for candidate in candidates:
        data = prepared(candidate.artifact, corpus, run.cache_dir)
        folder = candidate.artifact.folder
        accelerators = timed_on(folder, "cpu" if where == "cpu" else run.trainer.accelerator)
        models.append(Timed(folder, data.sample(), data.pad_id, accelerators))
    timings = time_interleaved(models, run.trainer.threads, rounds, run.verify)
    measured, cpu = [], {"name": cpu_name(), "flags": sorted(cpu_flags())}
    for candidate, timing in zip(candidates, timings, strict=True):
        folder, before = candidate.artifact.folder, candidate.record
        cost = count_parameters(folder) | count_bytes(folder) | timing
        if "texts_per_s" not in before.cost and before.cpu == cpu:
            try:
                add_cost(candidate.artifact, cost)
            except OSError as error:
                logger.warning("cost: not added to the record of %s (%s)", shown_path(folder), error.strerror)
        record = before.model_copy(update={"cost": cost, "cpu": cpu})
        measured.append(replace(candidate, artifact=replace(candidate.artifact, record=record)))
    return measured


def _with_size(candidate: "Candidate") -> "Candidate":
    """The candidate with its size counted from its files, if the record has none."""
    from chirplet.evaluation.cost import count_bytes
    from chirplet.evaluation.parameter_count import count_parameters

    folder, record = candidate.artifact.folder, candidate.record
    if "bytes_on_disk" in record.cost:
        return candidate
    cost = record.cost | count_parameters(folder) | count_bytes(folder)
    return replace(candidate, artifact=replace(candidate.artifact, record=record.model_copy(update={"cost": cost})))


def _texts(comparison: "Comparison", corpus: Corpus) -> "Texts":
    from chirplet.report.comparison_page import Texts
    from chirplet.runtime.tokenizer import open_tokenizer

    texts = corpus.val if comparison.split == "val" else corpus.test
    base = comparison.base.candidates[0]
    if texts.row_id != base.predictions.row_id:
        raise ArtifactError(
            f"artifacts: {base.name!r} was evaluated on other {comparison.split} texts than data= gives; "
            "give the data settings that it was made with"
        )
    record = base.record
    tokenizer, _ = open_tokenizer(base.artifact.folder, record.max_length)
    return Texts(texts.text, tokenize(texts.text, tokenizer, record.cleaning, record.max_length).lengths)
