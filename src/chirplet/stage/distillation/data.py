"""What a student is taught: texts with and without labels, and who says something of each."""

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

if TYPE_CHECKING:
    from chirplet.stage.distillation.settings import DistillSettings


@dataclass(frozen=True)
class DistillationData:
    """The first `plain` of `texts` are as they were written, those with labels before the others; then come views.

    `folds` says whom each is learnt from, None that it is from all `teachers`; `account` tells for the record what the
    texts are.
    """

    examples: Examples
    plain: int
    folds: Folds | None
    teachers: Teachers
    account: dict[str, Any]

    def logits(self, run: Run, batch_size: int) -> NDArray[np.float32]:
        """What the teachers say of the texts, shape (n, classes).

        Those with labels, those without and views are asked for apart, since other students may share some of them.

        Raises:
            ModelError: a teacher's model cannot be run.
        """
        rows = np.arange(len(self.examples))
        parts = [
            self.teachers.logits(
                self.examples.take(part), None if self.folds is None else self.folds[part], run, batch_size
            )
            for part in np.split(rows, [self.account["labeled"], self.plain])
            if len(part)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def make_distillation_data(
    stage: "DistillSettings", files: Sequence[str], corpus: Corpus, teachers: Teachers, run: Run
) -> DistillationData:
    """The train texts, those of `files` without labels, and views of both.

    A view is learnt from whoever teaches the text that it is of; texts of files from all teachers together.

    Raises:
        DataError: a file cannot be read, or none of them has a text that is new.
    """
    train = corpus.train
    read = (
        read_unlabeled(files, stage.unlabeled_column, stage.unlabeled_encoding, run.data.repair)
        if files
        else train.take(np.empty(0, np.int64))
    )
    more = without_known(read, corpus)
    if files and not len(more):
        raise DataError(f"unlabeled_files: {len(read):,} texts, none of which data={corpus.name} has not got already")
    plain = train.joined(more)
    copies = without_held_out(word_drop(plain, stage.word_drop, stage.augmentations_per_text, run.seed), plain, corpus)
    folds = None
    if teachers.folds is not None:
        own = np.concatenate([teachers.folds, np.full(len(more), EVERYONE)])
        folds = np.concatenate([own, np.tile(own, stage.augmentations_per_text)])
    account: dict[str, Any] = {"labeled": len(train), "unlabeled": len(more), "augmented": len(copies)}
    if files:
        account["unlabeled_left_out"] = len(read) - len(more)
        account["unlabeled_files"] = file_hashes(files)
    return DistillationData(plain.joined(copies), len(plain), folds, teachers, account)


def check_shared_tokens(name: str, distillation_data: DistillationData, student: Prepared, teacher: Artifact) -> None:
    """See that student and teacher read every text as the same tokens.

    Raises:
        ConfigError: they do not; says why.
    """
    told = prepared(teacher, student.corpus, student.cache_dir)
    own, others = student.tokens(distillation_data.examples), told.tokens(distillation_data.examples)
    if np.array_equal(own.offsets, others.offsets) and np.array_equal(own.values, others.values):
        return
    if student.tokenizer.get_vocab() != told.tokenizer.get_vocab():
        reason = "their vocabularies differ"
    elif student.cleaning != told.cleaning:
        reason = f"their cleaning is {student.cleaning} and {told.cleaning}"
    elif student.max_length != told.max_length:
        reason = f"their max_length is {student.max_length} and {told.max_length}"
    else:
        reason = "their tokenizers differ"
    raise ConfigError(
        f"distiller: got {name}, which compares token by token, but student and teacher have other tokens ({reason}); "
        "should be logits alone"
    )
