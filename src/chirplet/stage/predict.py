"""Label a file of texts with an artifact.

The artifact's task defines the columns added, for example `label` and `probability_extremely_negative`. `prefix` is
put before their names. A file that already has a column of that name raises an error.
"""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import field_validator, model_validator

from chirplet.artifact.artifact import Artifact, Record
from chirplet.config.schema import Count, Fraction, as_list
from chirplet.data.batching.token_counts import TokenCounts
from chirplet.data.preparation.repair import repair
from chirplet.data.table.dialect import Column, TableSettings
from chirplet.data.table.files import STDIN, Format, check_readers, format_of, table_files
from chirplet.data.table.stream import open_chunks
from chirplet.data.table.writer import check_output, open_writer
from chirplet.stage.base import Stage
from chirplet.stage.run.context import ArtifactFolder, Run, check_given
from chirplet.system.atomic_io import check_writable
from chirplet.system.console import console
from chirplet.system.error import DataError
from chirplet.system.hashing import file_hash, json_hash
from chirplet.system.progress import Progress
from chirplet.task.base import Combination

if TYPE_CHECKING:
    from chirplet.stage.output.kept_logits import KeptLogits

STDOUT = "-"


@dataclass(frozen=True)
class Labelled:
    """Counts of texts by label, the number of blank texts, and the seconds it took, without loading the model.

    `notes` say what the model could not read of the texts. An earlier command had computed the logits of the `kept`
    first texts.
    """

    counts: dict[str, int]
    blank: int
    seconds: float
    notes: list[str]
    kept: int = 0

    @property
    def texts(self) -> int:
        """Number of texts labeled."""
        return sum(self.counts.values())


class Predict(TableSettings, Stage):
    """Prediction: the artifact, the files, and how to read and write them.

    `input` is a file, a pattern, a list of them, or `-`; `output` a file or `-`. A null format is inferred from the
    suffix; for `-` it is CSV for the input and the input's format for the output. Text is written as UTF-8. An existing
    output is replaced atomically. Between files, the same command resumes where it was interrupted. With `windows` a
    text that is too long for the model is read in windows, whose logits are combined.
    """

    extra: ClassVar[str | None] = None
    reads_data: ClassVar[bool] = False

    artifact: ArtifactFolder | None
    input: str | list[str] | None
    output: str | None
    text_column: Column | None  # type: ignore[assignment]
    prefix: str
    output_format: Format | None
    batch_size: Count
    chunk_rows: Count
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"]
    windows: Combination | None
    window_overlap: Fraction

    @field_validator("input")
    @classmethod
    def _input_exists(cls, paths: str | list[str] | None) -> list[str] | None:
        if paths is None or paths == STDIN:
            return None if paths is None else [paths]
        if paths == []:
            raise ValueError("got [], should be one file or more")
        if isinstance(paths, str) and Path(paths).expanduser().is_fifo():
            return [paths]
        return [str(Path(file).expanduser()) for file in table_files(paths, "a file of texts")]

    @field_validator("output")
    @classmethod
    def _output_can_be_written(cls, path: str | None) -> str | None:
        if path is None or path == STDOUT:
            return path
        file = Path(path).expanduser()
        if not file.parent.is_dir():
            raise ValueError(f"got {path!r}, but the folder {str(file.parent)!r} does not exist; create it first")
        if file.exists() and not file.is_file():
            raise ValueError(f"got {path!r}, should be a regular file, or - for standard output")
        return str(file)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.input is not None and self.output is not None:
            if any(_same_file(file, self.output) for file in self.input):
                raise ValueError(f"output: got {self.output!r}, which is the input; should be another file")
            check_output(self.output, self.formats()[1])
        return self

    def formats(self) -> tuple[Format, Format]:
        """The formats to read and to write.

        Raises:
            ValueError: a format is neither given nor known from the suffix, or the files have several.
        """
        assert self.input is not None and self.output is not None
        files = {_format(file, self.format, "stage.format"): file for file in as_list(self.input)}
        if len(files) > 1:
            raise ValueError(f"input: got {' and '.join(files.values())}, should be files of one format")
        read = next(iter(files))
        if self.output == STDOUT and self.output_format is None:
            return read, "csv" if read == "excel" else read
        return read, _format(self.output, self.output_format, "stage.output_format")

    def check_needs(self) -> None:
        super().check_needs()
        wanted = {"artifact": (self.artifact, "DIR"), "input": (self.input, "FILE"), "output": (self.output, "FILE")}
        check_given(wanted)
        assert self.artifact is not None and self.output is not None
        from chirplet.runtime.open import check_runtime

        check_runtime(Path(self.artifact).expanduser(), "artifact")
        check_readers(as_list(self.input), self.formats()[0])
        if self.output != STDOUT:
            check_writable(Path(self.output).parent, "output")

    def run(self, run: Run) -> None:
        """Label the file and print a summary, to standard error if the output is standard output."""
        from chirplet.report.table import count_table

        done = self.label(run.trainer.accelerator, run.trainer.threads, run.verify)
        out = console(stderr=self.output == STDOUT)
        out.print(count_table("Examples by label", "label", done.counts))
        blank = f", {done.blank:,} of them blank" if done.blank else ""
        rate = (done.texts - done.kept) / done.seconds
        out.print(f"labeled  {done.texts:,} texts{blank} in {done.seconds:.1f} s ({rate:,.0f} texts/s)")
        for note in done.notes:
            out.print(f"texts     {note}", highlight=False)
        if self.output != STDOUT:
            out.print(f"output    {self.output}")

    def label(self, accelerator: str, threads: int | None, verify: bool = True) -> Labelled:
        """Read, label and write one chunk at a time.

        Raises:
            ArtifactError: the artifact's record is not valid.
            ModelError: its weights or tokenizer are damaged.
            DependencyError: its runtime, or what its tokenizer or a format needs, is not installed.
            DataError: the input is damaged, or the output cannot be written; an existing output is left as it was.
        """
        from chirplet.runtime.predictor import Predictor

        assert self.artifact is not None and self.input is not None and self.output is not None
        write = self.formats()[1]
        artifact = Artifact.open(Path(self.artifact))
        labels, task, repairs = artifact.record.labels, artifact.record.task, artifact.repairs
        trained = artifact.record.config.get("data", {}).get("text_column")
        texts = list(map(str, [trained or "text", "text"] if self.text_column is None else [self.text_column]))
        added = task.columns(labels, self.prefix)
        counts, blank, read_tokens = Counter[str](dict.fromkeys(labels, 0)), 0, TokenCounts()
        files, as_table = as_list(self.input), write != "jsonl"
        with open_chunks(files, self.dialect, texts, list(added), self.chunk_rows, as_table) as source:
            predictor = Predictor.open(
                artifact,
                batch_size=self.batch_size,
                accelerator=accelerator,
                threads=threads,
                precision=self.precision,
                windows=self.windows,
                window_overlap=self.window_overlap,
                verify=verify,
            )
            started = time.perf_counter()
            with (
                Progress("labeling") as progress,
                self._kept(artifact, accelerator, threads) as kept,
                open_writer(self.output, write, source, added) as writer,
            ):
                before = 0 if kept is None else kept.rows
                for chunk in progress(source.chunks, lambda chunk: len(chunk.texts)):
                    tokens = predictor.tokens([repair(text)[0] if repairs else text for text in chunk.texts])
                    read_tokens += predictor.counter(tokens)
                    compute = partial(predictor.logits_of, tokens)
                    cells = task.cells(compute() if kept is None else kept.next(compute), labels)
                    writer.write(chunk, dict(zip(added, cells, strict=True)))
                    counts.update(cells[0])
                    blank += sum(not text.strip() for text in chunk.texts)
        seconds = time.perf_counter() - started
        return Labelled(dict(counts), blank, seconds, self._notes(read_tokens, artifact.record), before)

    def _notes(self, counts: TokenCounts, record: Record) -> list[str]:
        long = "they are truncated, stage.windows=mean reads all of them"
        if self.windows is not None:
            long = f"they are read in windows ({self.windows})"
        return counts.notes(record.max_length, long, record.cleaning)

    @contextmanager
    def _kept(self, artifact: Artifact, accelerator: str, threads: int | None) -> Iterator["KeptLogits | None"]:
        """The logits that an interrupted prediction of the same texts left; None without files to keep them for."""
        files = [Path(file) for file in as_list(self.input)]
        if self.output is None or self.output == STDOUT or not all(file.is_file() for file in files):
            yield None
            return
        from chirplet.stage.output.kept_logits import kept_logits
        from chirplet.stage.run.identity import surroundings

        apart = {"artifact", "input", "output", "prefix", "output_format"}  # known otherwise, or no matter
        inputs = {"artifact": artifact.record.id, "input": json_hash([file_hash(file) for file in files])}
        inputs |= {f"stage.{key}": str(value) for key, value in self.model_dump(exclude=apart).items()}
        inputs |= {"trainer.accelerator": accelerator, "trainer.threads": str(threads), **surroundings()}
        with kept_logits(Path(self.output), inputs) as kept:
            yield kept


def _same_file(one: str, other: str) -> bool:
    return STDIN not in (one, other) and Path(other).exists() and Path(one).samefile(other)


def _format(path: str, given: Format | None, key: str) -> Format:
    try:
        return format_of(path, given)
    except DataError as error:
        raise ValueError(str(error.renamed({"data.format": key}))) from None
