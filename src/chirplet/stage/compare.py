"""Compare artifacts: a table, all figures as CSV, and one HTML page."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from chirplet.artifact.artifact import RECORD, Artifact
from chirplet.config.schema import Count, Fraction, as_list
from chirplet.data.base import Corpus
from chirplet.data.batching.tokens import tokenize
from chirplet.logger.base import Results, Sheet, shows_pages
from chirplet.stage.base import CostAccelerator, Stage
from chirplet.stage.run.context import Run
from chirplet.system.atomic_io import write_text_atomically
from chirplet.system.console import console, shown_path
from chirplet.system.error import ArtifactError, ConfigError
from chirplet.system.hardware import cpu_flags, cpu_name
from chirplet.system.progress import Progress

if TYPE_CHECKING:
    from chirplet.report.candidates import Candidate
    from chirplet.report.comparison import Comparison
    from chirplet.report.comparison_page import Texts

CSV, MARKDOWN, PAGE = "comparison.csv", "comparison.md", "report.html"


class Compare(Stage):
    """Comparison of artifacts. `conf/stage/compare.yaml` describes each key.

    Figures, intervals and p-values are computed from the artifacts alone. `data=` must be the data that the artifacts
    were made from. It provides the texts on the page (`texts`) and the texts that speed is measured on (`measure`).
    """

    artifacts: str | list[str] | None
    baseline: str | None
    split: Literal["val", "test"] | None
    acceptable_drop: Fraction
    texts: bool
    measure: bool
    cost_accelerator: CostAccelerator
    rounds: Count

    def run(self, run: Run) -> float | None:
        """Read, compare, write `comparison.csv`, `comparison.md` and `report.html`, and print the table."""
        from chirplet.report.candidates import find_artifacts, open_candidates
        from chirplet.report.comparison import compare

        if self.artifacts is None:
            raise ConfigError(
                "artifacts: is missing; give artifacts=[DIR,DIR], or a pattern: artifacts='outputs/**/artifact'"
            )
        folders = find_artifacts(as_list(self.artifacts))
        candidates, split = open_candidates(folders, self.split)
        corpus = self._corpus(candidates, run) if self.texts or self.measure else None
        if self.measure and corpus is not None:
            candidates = _measured(candidates, corpus, run, self.rounds, self.cost_accelerator)
        else:
            candidates = [_with_size(candidate) for candidate in candidates]
        with Progress("comparing"):
            comparison = compare(candidates, split, self._baseline(candidates), run.seed, interleaved=self.measure)
        texts = _texts(comparison, corpus) if self.texts and corpus is not None else None
        report = self._finish(comparison, texts, run.output_dir)
        _log_results(comparison, report, run)
        return None

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

    def _corpus(self, candidates: "Sequence[Candidate]", run: Run) -> Corpus:
        from chirplet.data.preparation.prepare import prepare
        from chirplet.stage.run.compatibility import check_data

        without = "" if self.measure else ", or stage.texts=false for a report without the texts themselves"
        source = candidates[0].record.data.source
        if source != run.data.name:  # before anything is fetched
            raise ArtifactError(
                f"data: got {run.data.name}, should be {source}, which {candidates[0].name!r} of artifacts= was made "
                f"from; give data={source} with its settings{without}"
            )
        corpus = prepare(run.data, run.cache_dir)
        try:
            check_data(candidates[0].artifact, corpus, run, key="artifacts")
        except ArtifactError as error:
            raise ArtifactError(f"{error}{without}") from None
        return corpus

    def _finish(self, comparison: "Comparison", texts: "Texts | None", folder: Path) -> str:
        """Write the files, print the table and their paths, and return the page."""
        from chirplet.report.comparison import advise
        from chirplet.report.comparison_csv import as_csv
        from chirplet.report.comparison_page import page
        from chirplet.report.comparison_table import advice_line, comparison_table, markdown, notes

        advice = advise(comparison, self.acceptable_drop)
        contents = {CSV: as_csv(comparison), MARKDOWN: markdown(comparison), PAGE: page(comparison, advice, texts)}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, text in contents.items():
                write_text_atomically(text, folder / name)
        except OSError as error:
            raise ArtifactError(f"could not write to {str(folder)!r}: {error.strerror}") from error
        out = console()
        out.print(comparison_table(comparison))
        for line in [*notes(comparison), *([] if advice is None else [advice_line(comparison, advice)])]:
            out.print(line)
        out.print(f"table     {shown_path(folder / CSV)}")
        out.print(f"report    {shown_path(folder / PAGE)}")
        return contents[PAGE]


def _log_results(comparison: "Comparison", report: str, run: Run) -> None:
    """Log the comparison to loggers that show pages."""
    if not any(map(shows_pages, run.loggers.values())):
        return
    from chirplet.report.comparison_page import front_pages
    from chirplet.stage.run.loggers import log_results, open_loggers

    records = [candidate.record for row in comparison.rows for candidate in row.candidates]
    with open_loggers(run, "compare", teachers=records, for_pages=True) as loggers:
        names = list(dict.fromkeys(name for row in comparison.rows for name in row.figures))
        rows = [[row.name, *(row.figures.get(name) for name in names)] for row in comparison.rows]
        sheets = {"comparison": Sheet(["run", *names], rows)}
        log_results(loggers, Results(sheets=sheets, pages={"report": report, **front_pages(comparison)}))


def _measured(
    candidates: "Sequence[Candidate]", corpus: Corpus, run: Run, rounds: int, where: CostAccelerator
) -> "list[Candidate]":
    """The candidates with size and speed measured again, interleaved, on this machine."""
    from chirplet.evaluation.cost import Timed, count_bytes, time_interleaved
    from chirplet.evaluation.parameter_count import count_parameters
    from chirplet.runtime.open import accelerator_for
    from chirplet.stage.run.parent import prepared

    models = []
    for candidate in candidates:
        data = prepared(candidate.artifact, corpus, run.cache_dir)
        folder = candidate.artifact.folder
        accelerator = "cpu" if where == "cpu" else accelerator_for(folder, run.trainer.accelerator)
        models.append(Timed(folder, data.sample(), data.pad_id, accelerator))
    timings = time_interleaved(models, run.trainer.threads, rounds, run.verify)
    measured = []
    for candidate, timing in zip(candidates, timings, strict=True):
        cost = count_parameters(candidate.artifact.folder) | count_bytes(candidate.artifact.folder) | timing
        record = candidate.record.model_copy(
            update={"cost": cost, "cpu": {"name": cpu_name(), "flags": sorted(cpu_flags())}}
        )
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
