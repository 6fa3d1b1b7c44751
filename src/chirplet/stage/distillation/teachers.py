"""The teachers of one student: whether they may teach it, and what they say together."""

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
"""The number of the teacher that each text is learnt from, or `EVERYONE`; shape (n,)."""

EVERYONE = -1
"""All teachers together."""


@dataclass(frozen=True)
class Teachers:
    """One teacher or several, whose `weights` in a mean sum to 1.

    `folds` is None unless logits are out of fold: then it tells which teacher had each train text in validation.
    """

    artifacts: tuple[Artifact, ...]
    weights: tuple[float, ...]
    folds: Folds | None

    def logits(self, examples: Examples, folds: Folds | None, run: Run, batch_size: int) -> NDArray[np.float32]:
        """What they say of the texts, shape (n, classes): the weighted mean of logits, or those of each text's own.

        Raises:
            ModelError: a model is damaged, or its runtime is not installed.
        """
        if folds is None:
            folds = np.full(len(examples), EVERYONE)
        total = np.zeros((len(examples), len(self.artifacts[0].record.labels)), np.float32)
        for number, (artifact, weight) in enumerate(zip(self.artifacts, self.weights, strict=True)):
            rows = np.flatnonzero((folds == number) | (folds == EVERYONE))
            if len(rows):
                asked = examples if len(rows) == len(examples) else examples.take(rows)
                said = teacher_logits(
                    artifact,
                    asked,
                    run.cache_dir,
                    batch_size=batch_size,
                    accelerator=run.trainer.accelerator,
                    threads=run.trainer.threads,
                    verify=run.verify,
                )
                total[rows] += said * np.where(folds[rows] == EVERYONE, weight, 1.0).astype(np.float32)[:, None]
        return total

    def title(self) -> str:
        """Who they are, in a line."""
        records = [artifact.record for artifact in self.artifacts]
        named = [f"{record.lineage[0].name} ({record.stage}, {record.method})" for record in records]
        return ", ".join(named) + (", out of fold" if self.folds is not None else "")

    def account(self, corpus: Corpus) -> dict[str, dict[str, Any]]:
        """For the record, by the beginning of their ids: who they are, their weights, and their accuracy on each split.

        Those made from other texts or splits are told without, and so is validation where they were trained on it.
        """
        told: dict[str, dict[str, Any]] = {}
        for artifact, weight in zip(self.artifacts, self.weights, strict=True):
            record = artifact.record
            same = record.data.fingerprint == corpus.fingerprint
            accuracy = {
                split: metrics["accuracy"]
                for split, metrics in record.metrics.items()
                if same and not (split == "val" and trained_on_val(record))
            }
            told[record.id[:12]] = {
                "base": record.lineage[0].name,
                "stage": record.stage,
                "method": record.method,
                "data": record.data.source,
                "weight": weight,
                "accuracy": accuracy,
            }
        return told


def open_teachers(
    folders: Sequence[str], corpus: Corpus, run: Run, combine: Combine, out_of_fold: bool, other_data: bool
) -> Teachers:
    """Open the artifacts and see that they may teach these texts.

    Args:
        folders: of the artifacts.
        corpus: the student's texts.
        run: whose `data` gave them.
        combine: `mean`, or `validation` for weights in proportion to each teacher's accuracy on validation.
        out_of_fold: each train text is learnt from the teachers that had it in validation.
        other_data: teachers may have been made from other texts, these test texts perhaps among them.

    Raises:
        ArtifactError: one is no artifact, has other labels or another task, was made from other texts, was never
            validated though that is to weigh it, or the teachers' folds do not cover the train texts.
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
    """See that a teacher of a fold, of which a student is cut, learnt from no text that the student is chosen by.

    Raises:
        ArtifactError: it did.
    """
    unseen = set(_fold_of(artifact, run).val.row_id)
    seen = sum(row not in unseen for row in corpus.val.row_id)
    if seen:
        raise ArtifactError(
            f"teacher: {str(artifact.folder)!r} has learnt from {seen:,} of {len(corpus.val):,} val texts, and the "
            "student is cut from it; should be the teacher of data's own fold, or give model@student=NAME"
        )


def _check_labels(artifact: Artifact, corpus: Corpus) -> None:
    labels = artifact.record.labels
    if labels != list(corpus.labels):
        same = "in another order" if sorted(labels) == sorted(corpus.labels) else "other ones"
        raise ArtifactError(
            f"teacher: {str(artifact.folder)!r} has the labels {', '.join(labels)}, which are {same}; "
            f"should be {', '.join(corpus.labels)}, as data={corpus.name} has them"
        )


def _weights(artifacts: Sequence[Artifact], combine: Combine, corpus: Corpus) -> tuple[float, ...]:
    if combine == "mean":
        return tuple(1 / len(artifacts) for _ in artifacts)
    strange = [artifact for artifact in artifacts if artifact.record.data.fingerprint != corpus.fingerprint]
    if strange:
        raise ArtifactError(
            f"teacher: {str(strange[0].folder)!r} was judged on other validation texts, so its accuracy tells "
            "nothing here; should be stage.combine=mean"
        )
    for artifact in artifacts:
        check_val_untrained(artifact, "teacher")
    scores = [artifact.metric("val/accuracy") for artifact in artifacts]
    for artifact, score in zip(artifacts, scores, strict=True):
        if score is None:
            raise ArtifactError(
                f"teacher: {str(artifact.folder)!r} was not judged on validation; stage.combine=mean needs no figures"
            )
    known = [score for score in scores if score is not None]
    return tuple(score / sum(known) for score in known)


def _folds(artifacts: Sequence[Artifact], corpus: Corpus, run: Run) -> Folds:
    """Which teacher had each train text in validation.

    Their folds are made again from their records' `data.folds` and `data.fold`, and must be what they were made from:
    that proves that none has seen the texts it speaks for, nor the student's test texts, which are carved before
    there are folds. The student's own validation texts were train texts of these teachers.
    """
    owner: dict[str, int] = {}
    for number, artifact in enumerate(artifacts):
        owner |= dict.fromkeys(_fold_of(artifact, run).val.row_id, number)
    missing = sum(row not in owner for row in corpus.train.row_id)
    if missing:
        raise ArtifactError(
            f"teacher: {missing:,} of {len(corpus.train):,} train texts were in validation of none of these; "
            "stage.out_of_fold=true needs a teacher for each fold (data.folds=K data.fold=0 to K-1)"
        )
    return np.array([owner[row] for row in corpus.train.row_id], np.int64)


def _fold_of(artifact: Artifact, run: Run) -> Corpus:
    """The texts and splits that the artifact was made from, a fold of what the run's `data` gives.

    Raises:
        ArtifactError: it was made otherwise.
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
    own = prepare(folded, run.cache_dir)
    if artifact.record.data.fingerprint != own.fingerprint:
        raise ArtifactError(
            f"teacher: {str(artifact.folder)!r} was made from other texts than data={own.name} gives with "
            f"data.folds={count} data.fold={index}; give the data settings that it was made with, but for these two"
        )
    return own
