"""The teachers of one student: compatibility checks, and their combined logits."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chirplet.artifact.artifact import Artifact
from chirplet.config.schema import validate
from chirplet.data.base import Corpus, Examples
from chirplet.data.preparation.prepare import prepare
from chirplet.stage.distillation.teacher_logits import teacher_logits
from chirplet.stage.run.compatibility import check_data, check_task, check_val_untrained, trained_on_val
from chirplet.stage.run.context import Run
from chirplet.system.error import ArtifactError

Combine = Literal["mean", "validation"]
Folds = NDArray[np.int64]
"""The index of the teacher that each text is learnt from, or `EVERYONE`; shape (n,)."""

EVERYONE = -1
"""The weighted mean of all teachers."""


@dataclass(frozen=True)
class Teachers:
    """One teacher or several, with `weights` that sum to 1.

    `folds` is None unless logits are out of fold; then it has the index of the teacher that had each train text in
    validation.
    """

    artifacts: tuple[Artifact, ...]
    weights: tuple[float, ...]
    folds: Folds | None

    def logits(self, examples: Examples, folds: Folds | None, run: Run, batch_size: int) -> NDArray[np.float32]:
        """Logits for the texts, shape (n, classes): the weighted mean, or those of the teacher that `folds` names.

        Raises:
            ModelError: a model is damaged.
            DependencyError: its runtime is not installed.
        """
        if folds is None:
            folds = np.full(len(examples), EVERYONE)
        total = np.zeros((len(examples), len(self.artifacts[0].record.labels)), np.float32)
        for index, (artifact, weight) in enumerate(zip(self.artifacts, self.weights, strict=True)):
            rows = np.flatnonzero((folds == index) | (folds == EVERYONE))
            if len(rows):
                part = examples if len(rows) == len(examples) else examples.take(rows)
                logits = teacher_logits(
                    artifact,
                    part,
                    run.cache_dir,
                    batch_size=batch_size,
                    accelerator=run.trainer.accelerator,
                    threads=run.trainer.threads,
                    verify=run.verify,
                )
                total[rows] += logits * np.where(folds[rows] == EVERYONE, weight, 1.0).astype(np.float32)[:, None]
        return total

    def title(self) -> str:
        """The teachers in one line, for messages."""
        records = [artifact.record for artifact in self.artifacts]
        named = [f"{record.lineage[0].name} ({record.stage}, {record.method})" for record in records]
        return ", ".join(named) + (", out of fold" if self.folds is not None else "")

    def summary(self, corpus: Corpus) -> dict[str, dict[str, Any]]:
        """The teachers for the record, by the first 12 characters of their ids, with weights and accuracy per split.

        Accuracy is left out for teachers made from other texts or splits, and for val texts that they were trained on.
        """
        teachers: dict[str, dict[str, Any]] = {}
        for artifact, weight in zip(self.artifacts, self.weights, strict=True):
            record = artifact.record
            same = record.data.fingerprint == corpus.fingerprint
            accuracy = {
                split: metrics["accuracy"]
                for split, metrics in record.metrics.items()
                if same and not (split == "val" and trained_on_val(record))
            }
            teachers[record.id[:12]] = {
                "base": record.lineage[0].name,
                "stage": record.stage,
                "method": record.method,
                "data": record.data.source,
                "weight": weight,
                "accuracy": accuracy,
            }
        return teachers


def open_teachers(
    folders: Sequence[str], corpus: Corpus, run: Run, combine: Combine, out_of_fold: bool, other_data: bool
) -> Teachers:
    """Open the artifacts and check that they fit the student's corpus.

    Args:
        folders: the artifacts' folders.
        corpus: the student's texts.
        run: the run that the corpus belongs to.
        combine: `mean`, or `validation` for weights in proportion to each teacher's accuracy on validation.
        out_of_fold: learn each train text from the teacher that had it in validation.
        other_data: allow teachers made from other texts, which may include this corpus's test texts.

    Raises:
        ArtifactError: a folder is no artifact, or the artifact has other labels, another task or other texts; it has no
            validation accuracy with `combine=validation`; or the teachers' folds do not cover the train texts.
    """
    artifacts = tuple(Artifact.open(Path(folder).expanduser()) for folder in folders)
    for artifact in artifacts:
        _check_labels(artifact, corpus)
        check_task(artifact, run, key="teacher")
        if not (out_of_fold or other_data):
            check_data(artifact, corpus, run, key="teacher")
    folds = _folds(artifacts, corpus, run) if out_of_fold else None
    return Teachers(artifacts, _weights(artifacts, combine, corpus), folds)


def check_val_unseen(artifact: Artifact, corpus: Corpus, run: Run) -> None:
    """Check that a teacher of a fold, from which the student is cut, was not trained on the student's val texts.

    Raises:
        ArtifactError: it was.
    """
    unseen = set(_fold_of(artifact, run).val.row_id)
    seen = sum(row not in unseen for row in corpus.val.row_id)
    if seen:
        raise ArtifactError(
            f"teacher: {str(artifact.folder)!r}, which the student is cut from, was trained on {seen:,} of "
            f"{len(corpus.val):,} val texts; should be the teacher of the fold in data.fold, or give model@student=NAME"
        )


def _check_labels(artifact: Artifact, corpus: Corpus) -> None:
    labels = artifact.record.labels
    if labels != list(corpus.labels):
        difference = "in another order" if sorted(labels) == sorted(corpus.labels) else "other labels"
        raise ArtifactError(
            f"teacher: {str(artifact.folder)!r} has the labels {', '.join(labels)} ({difference}), "
            f"should have {', '.join(corpus.labels)}, as data={corpus.name} has"
        )


def _weights(artifacts: Sequence[Artifact], combine: Combine, corpus: Corpus) -> tuple[float, ...]:
    if combine == "mean":
        return tuple(1 / len(artifacts) for _ in artifacts)
    others = [artifact for artifact in artifacts if artifact.record.data.fingerprint != corpus.fingerprint]
    if others:
        raise ArtifactError(
            f"stage.combine: got 'validation', should be mean: {str(others[0].folder)!r} of teacher= was evaluated on "
            "other validation texts"
        )
    for artifact in artifacts:
        check_val_untrained(artifact, "teacher")
    scores = [artifact.metric("val/accuracy") for artifact in artifacts]
    for artifact, score in zip(artifacts, scores, strict=True):
        if score is None:
            raise ArtifactError(
                f"stage.combine: got 'validation', should be mean: {str(artifact.folder)!r} of teacher= was not "
                "evaluated on validation"
            )
    known = [score for score in scores if score is not None]
    return tuple(score / sum(known) for score in known)


def _folds(artifacts: Sequence[Artifact], corpus: Corpus, run: Run) -> Folds:
    """The index of the teacher that had each train text in validation, shape (n,).

    Each teacher's fold is prepared again from its record's `data.folds` and `data.fold`, and its fingerprint must match
    the record. This verifies that no teacher was trained on the texts that are learnt from it, nor on the student's
    test texts, which are split off before the folds. The student's val texts were train texts of these teachers.
    """
    teacher_of: dict[str, int] = {}
    for index, artifact in enumerate(artifacts):
        teacher_of |= dict.fromkeys(_fold_of(artifact, run).val.row_id, index)
    missing = sum(row not in teacher_of for row in corpus.train.row_id)
    if missing:
        raise ArtifactError(
            f"teacher: {missing:,} of {len(corpus.train):,} train texts were in no teacher's validation split; "
            "stage.out_of_fold=true needs a teacher for each fold (data.folds=K data.fold=0 to K-1)"
        )
    return np.array([teacher_of[row] for row in corpus.train.row_id], np.int64)


def _fold_of(artifact: Artifact, run: Run) -> Corpus:
    """The corpus that the artifact was made from, which must be a fold of the run's `data`.

    Raises:
        ArtifactError: it was not made from a fold, or from other texts.
    """
    settings = artifact.record.config.get("data", {})
    count, index = settings.get("folds"), settings.get("fold")
    if count is None or index is None:
        raise ArtifactError(
            f"teacher: {str(artifact.folder)!r} was not made with data.folds and data.fold; "
            "stage.out_of_fold=true needs teachers of several folds"
        )
    check_val_untrained(artifact, "teacher")
    folded = validate(type(run.data), dict(run.data) | {"folds": count, "fold": index}, "teacher: its record's data")
    fold = prepare(folded, run.cache_dir)
    if artifact.record.data.fingerprint != fold.fingerprint:
        raise ArtifactError(
            f"teacher: {str(artifact.folder)!r} was made from other texts than data={fold.name} gives with "
            f"data.folds={count} data.fold={index}; give the other data settings that it was made with"
        )
    return fold
