"""Label a file of texts with an artifact.

The artifact's task defines the columns added, for example `label` and `probability_extremely_negative`. `prefix` is
put before their names. A file that already has a column of that name raises an error.
"""

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import pyarrow as pa
from pydantic import field_validator, model_validator

from chirplet.artifact.artifact import Artifact
from chirplet.config.schema import Count, existing_file
from chirplet.data.table.reader import Format, format_of
from chirplet.data.table.stream import open_chunks
from chirplet.data.table.text_io import STDIN, Encoding
from chirplet.data.table.writer import open_writer
from chirplet.stage.base import Stage
from chirplet.stage.run.context import ArtifactFolder, Run, check_given
from chirplet.system.console import console
from chirplet.system.error import DataError
from chirplet.system.progress import Progress

STDOUT = "-"


@dataclass(frozen=True)
class Labelled:
    """Counts of texts by label, the number of blank texts, and the seconds it took, without loading the model."""

    counts: dict[str, int]
    blank: int
    seconds: float

    @property
    def texts(self) -> int:
        """Number of texts labeled."""
        return sum(self.counts.values())


class Predict(Stage):
    """Prediction: the artifact, the files, and how to read and write them.

    `input` and `output` are files or `-`. A null format is inferred from the suffix; for `-` it is CSV for the input
    and the input's format for the output. Text is written as UTF-8. An existing output is replaced atomically.
    """

    artifact: ArtifactFolder | None
    input: str | None
    output: str | None
    text_column: str
    prefix: str
    input_format: Format | None
    output_format: Format | None
    encoding: Encoding
    quoted: bool
    batch_size: Count
    chunk_rows: Count
    precision: Literal["auto", "32-true", "bf16-mixed"]

    @field_validator("input")
    @classmethod
    def _input_exists(cls, path: str | None) -> str | None:
        if path is None or path == STDIN:
            return path
        file = Path(path).expanduser()
        if file.is_dir() or not file.exists():
            existing_file(path, "a file of texts")
        return str(file)

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
            if self.input != STDIN and self.output != STDOUT and _same_file(self.input, self.output):
                raise ValueError(f"output: got {self.output!r}, which is the input; should be another file")
            self.formats()
        return self

    def formats(self) -> tuple[Format, Format]:
        """The formats to read and to write.

        Raises:
            ValueError: a format is neither given nor known from the suffix.
        """
        assert self.input is not None and self.output is not None
        read = _format(self.input, self.input_format, "input_format")
        if self.output == STDOUT and self.output_format is None:
            return read, read
        return read, _format(self.output, self.output_format, "output_format")

    def run(self, run: Run) -> None:
        """Label the file and print a summary, to standard error if the output is standard output."""
        wanted = {"artifact": (self.artifact, "DIR"), "input": (self.input, "FILE"), "output": (self.output, "FILE")}
        check_given(wanted)
        from chirplet.report.table import count_table

        done = self.label(run.trainer.accelerator, run.trainer.threads, run.verify)
        out = console(stderr=self.output == STDOUT)
        out.print(count_table("Examples by label", "label", done.counts))
        blank = f", {done.blank:,} of them blank" if done.blank else ""
        rate = done.texts / done.seconds
        out.print(f"labeled  {done.texts:,} texts{blank} in {done.seconds:.1f} s ({rate:,.0f} texts/s)")
        if self.output != STDOUT:
            out.print(f"output    {self.output}")

    def label(self, accelerator: str, threads: int | None, verify: bool = True) -> Labelled:
        """Read, label and write one chunk at a time.

        Raises:
            ArtifactError: the artifact's record is not valid.
            ModelError: its weights or tokenizer are damaged, or its runtime is not installed.
            DataError: the input is damaged, or the output cannot be written; an existing output is left as it was.
        """
        from chirplet.runtime.predictor import Predictor

        assert self.artifact is not None and self.input is not None and self.output is not None
        read, write = self.formats()
        artifact = Artifact.open(Path(self.artifact))
        labels, task = artifact.record.labels, artifact.record.task
        kinds = {str: pa.string(), float: pa.float64()}
        added = pa.schema([(name, kinds[kind]) for name, kind in task.columns(labels, self.prefix).items()])
        counts, blank = Counter[str](dict.fromkeys(labels, 0)), 0
        with open_chunks(
            self.input, read, self.encoding, self.quoted, self.text_column, added.names, self.chunk_rows
        ) as source:
            predictor = Predictor.open(
                artifact,
                batch_size=self.batch_size,
                accelerator=accelerator,
                threads=threads,
                precision=self.precision,
                verify=verify,
            )
            started = time.perf_counter()
            # Unquoted cells can be written back unquoted only in the same format.
            quoted = self.quoted or read != write
            with Progress("labeling") as progress, open_writer(self.output, write, source, added, quoted) as writer:
                for chunk in progress(source.chunks, lambda chunk: len(chunk.texts)):
                    cells = task.cells(predictor.logits(chunk.texts), labels)
                    writer.write(chunk, dict(zip(added.names, cells, strict=True)))
                    counts.update(cells[0])
                    blank += sum(not text.strip() for text in chunk.texts)
        return Labelled(dict(counts), blank, time.perf_counter() - started)


def _same_file(one: str, other: str) -> bool:
    return Path(other).exists() and Path(one).samefile(other)


def _format(path: str, given: Format | None, key: str) -> Format:
    try:
        return format_of(path, given)
    except DataError as error:
        raise ValueError(str(error.renamed({"format": key}))) from None
