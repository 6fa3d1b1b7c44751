"""The distillation data of a student: texts with and without labels, and the teachers of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chirplet.artifact.artifact import Artifact
from chirplet.data.base import Corpus, Examples, file_hashes
from chirplet.stage.distillation.teachers import EVERYONE, Folds, Teachers
from chirplet.stage.distillation.unlabeled import (
    read_unlabeled,
    without_held_out,
    without_known,
    word_drop,
)
from chirplet.stage.run.context import Run
from chirplet.stage.run.parent import prepared
from chirplet.stage.run.prepared import Prepared
from chirplet.system.error import ConfigError, DataError
from chirplet.system.progress import Progress

if TYPE_CHECKING:
    from chirplet.stage.distillation.settings import DistillSettings


@dataclass(frozen=True)
class DistillationData:
    """The student's texts: labeled ones, unlabeled ones, then augmented copies with words dropped.

    The first `plain` of `examples` are unaugmented. `folds` has the teacher of each text, shape (n,); None is all
    `teachers` for every text. `summary` has the counts and file hashes for the record.
    """

    examples: Examples
    plain: int
    folds: Folds | None
    teachers: Teachers
    summary: dict[str, Any]

    def logits(self, run: Run, batch_size: int) -> NDArray[np.float32]:
        """The teachers' logits for the texts, shape (n, classes).

        Labeled texts, unlabeled texts and augmented copies are cached separately, since other students may share some.

        Raises:
            ModelError: a teacher's model cannot be run.
        """
        rows = np.arange(len(self.examples))
        parts = [
            self.teachers.logits(
                self.examples.take(part), None if self.folds is None else self.folds[part], run, batch_size
            )
            for part in np.split(rows, [self.summary["labeled"], self.plain])
            if len(part)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def make_distillation_data(
    stage: "DistillSettings", files: Sequence[str], corpus: Corpus, teachers: Teachers, run: Run
) -> DistillationData:
    """The train texts, the unlabeled texts of `files`, and augmented copies of both.

    An augmented copy has the same teacher as its original. Unlabeled texts are learnt from all teachers.

    Raises:
        DataError: a file cannot be read, or the corpus already has every text of the files.
    """
    train = corpus.train
    read = train.take(np.empty(0, np.int64))
    with Progress("comparing the unlabeled texts with the corpus"):
        if files:
            read = read_unlabeled(files, stage.unlabeled, run.data.repair)
        more = without_known(read, corpus)
    if files and not len(more):
        raise DataError(
            f"unlabeled_files: data={corpus.name} already has all {len(read):,} texts; give files with other texts"
        )
    plain = train.joined(more)
    with Progress("augmenting"):
        dropped = word_drop(plain, stage.word_drop, stage.augmentations_per_text, run.seed)
        copies = without_held_out(dropped, plain, corpus)
    folds = None
    if teachers.folds is not None:
        plain_folds = np.concatenate([teachers.folds, np.full(len(more), EVERYONE)])
        folds = np.concatenate([plain_folds, np.tile(plain_folds, stage.augmentations_per_text)])
    summary: dict[str, Any] = {"labeled": len(train), "unlabeled": len(more), "augmented": len(copies)}
    if files:
        summary["unlabeled_left_out"] = len(read) - len(more)
        summary["unlabeled_files"] = file_hashes(files)
    return DistillationData(plain.joined(copies), len(plain), folds, teachers, summary)


def check_shared_tokens(name: str, distillation_data: DistillationData, student: Prepared, teacher: Artifact) -> None:
    """Check that student and teacher tokenize every text alike.

    Raises:
        ConfigError: they do not. The message has the reason.
    """
    teacher_data = prepared(teacher, student.corpus, student.cache_dir)
    student_tokens = student.tokens(distillation_data.examples)
    teacher_tokens = teacher_data.tokens(distillation_data.examples)
    if np.array_equal(student_tokens.offsets, teacher_tokens.offsets) and np.array_equal(
        student_tokens.values, teacher_tokens.values
    ):
        return
    if student.tokenizer.get_vocab() != teacher_data.tokenizer.get_vocab():
        reason = "their vocabularies differ"
    elif student.cleaning != teacher_data.cleaning:
        reason = f"their cleaning is {student.cleaning} and {teacher_data.cleaning}"
    elif student.max_length != teacher_data.max_length:
        reason = f"their max_length is {student.max_length} and {teacher_data.max_length}"
    else:
        reason = "their tokenizers differ"
    raise other_tokens(name, reason)


def other_tokens(name: str, reason: str) -> ConfigError:
    """The error of a distiller that compares token by token, where student and teacher tokenize texts differently."""
    return ConfigError(
        f"distiller: got {name}, which compares token by token, but student and teacher tokenize texts differently "
        f"({reason}); should be logits alone"
    )
