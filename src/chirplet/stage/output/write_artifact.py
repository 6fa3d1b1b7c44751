"""Evaluate a model and write its artifact; shared by every stage that makes a model."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chirplet.artifact.artifact import (
    CARD,
    SCHEMA_VERSION,
    Ancestor,
    Artifact,
    DataRecord,
    Record,
    atomic_folder,
    content_id,
    write_record,
)
from chirplet.artifact.local_files import write_local_files
from chirplet.artifact.predictions import PREDICTIONS, write_predictions
from chirplet.data.base import Examples, Split
from chirplet.data.batching.tokens import save_tokenizer
from chirplet.data.preparation.normalizers import cleans_inside
from chirplet.evaluation.cost import measure
from chirplet.model.loading.load import LoadedModel
from chirplet.model.loading.quiet import quiet
from chirplet.model.structure.freezing import count_trainable
from chirplet.report.card import model_card
from chirplet.report.table import baseline_table, metrics_table, per_class_table
from chirplet.runtime.base import Runtime, predict_logits
from chirplet.runtime.probe import write_probe
from chirplet.runtime.pytorch import HALF, PyTorchRuntime
from chirplet.stage.output.make_probe import NOT_FINITE, Prober
from chirplet.stage.output.versions import versions
from chirplet.stage.run.context import Run
from chirplet.stage.run.prepared import Prepared
from chirplet.system.atomic_io import write_text_atomically
from chirplet.system.command_line import command, override_of
from chirplet.system.console import console, shown_path
from chirplet.system.error import ArtifactError, ModelError
from chirplet.system.hardware import cpu_flags, cpu_name
from chirplet.system.progress import Progress

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)


SplitLogits = dict[Split, tuple[Examples, NDArray[np.float32]]]
"""Texts and logits (n, classes) by split."""


@dataclass(frozen=True)
class Outcome:
    """What a stage did: its name, method and settings, the model's lineage, and the results of training."""

    stage: str
    method: str
    settings: dict[str, Any]
    lineage: list[Ancestor]
    training: dict[str, Any]


def lineage_of(run: Run, loaded: LoadedModel) -> list[Ancestor]:
    """The model's lineage, base model first. Stages call it before they train, since it may raise.

    Raises:
        ArtifactError: the model's folder has a record that is not valid.
    """
    origin = loaded.origin
    parent = Ancestor(
        name=origin.name,
        revision=origin.revision,
        weights_sha256=origin.weights_sha256,
        pretrained=origin.pretrained,
        artifact=origin.parent,
        stage=None,
    )
    if origin.parent is None:
        return [parent]
    before = Artifact.open(run.model.folder).record
    return [*before.lineage, parent.model_copy(update={"stage": before.stage})]


def write_outcome(
    run: Run,
    outcome: Outcome,
    save: Callable[[Path], Runtime],
    data: Prepared,
    splits: Sequence[Split],
    batch_size: int,
    cost_on: str | None,
    summarize: Callable[[Path, SplitLogits], dict[str, Any]] | None = None,
    compared_with: Path | None = None,
) -> Artifact:
    """Evaluate a model on `splits` and write it with its record, predictions and card to `run.artifact_folder`.

    The cost is measured and added after the artifact is complete, so that a failed measurement does not lose the model.

    Args:
        run: the run that makes the artifact.
        outcome: what the stage did.
        save: writes the model's files and its probe into a folder, and returns the runtime to evaluate with.
        data: the texts and the tokenizer, which is saved with the model.
        splits: the splits to evaluate on.
        batch_size: texts per batch.
        cost_on: the accelerator to measure size and speed on, in a fresh process; None measures nothing.
        summarize: called after the evaluation with the folder and the logits; returns additions to the record's
            `training`, and may write files to the folder.
        compared_with: the artifact whose speed is measured interleaved with the new one's.

    Raises:
        ArtifactError: the folder could not be written; nothing is left there then.
        ModelError: the model's logits are not finite.
    """
    folder = run.artifact_folder
    with atomic_folder(folder) as temporary:
        with quiet(), Progress("saving"):
            runtime = save(temporary)
        save_tokenizer(data.tokenizer, temporary)
        evaluated = evaluate_splits(runtime, data, splits, batch_size)
        write_predictions(temporary, {str(split): pair for split, pair in evaluated.items()}, data.task)
        if summarize is not None:
            outcome = replace(outcome, training=outcome.training | summarize(temporary, evaluated))
        metrics = {
            str(split): data.task.evaluate(logits, data.task.targets(examples), data.corpus.labels)
            for split, (examples, logits) in evaluated.items()
        }
        record = _record(run, outcome, data, metrics, content_id(temporary))
        write_record(temporary, record)
        write_text_atomically(model_card(record), temporary / CARD)
    artifact = Artifact(folder, record)
    write_local_files(artifact, run.data)
    return artifact if cost_on is None else _with_cost(artifact, run, data, cost_on, compared_with)


def _with_cost(artifact: Artifact, run: Run, data: Prepared, accelerator: str, compared_with: Path | None) -> Artifact:
    """Measure the artifact's cost and add it to its record and card. A failed measurement is logged as a warning."""
    folder = artifact.folder
    try:
        cost = measure(folder, data.sample(), data.pad_id, run.trainer.threads, accelerator, compared_with)
    except (ArtifactError, OSError) as error:
        again = command("stage=compare", override_of("artifacts", shown_path(folder)), "stage.measure=true")
        logger.warning("cost: not measured (%s); the artifact is complete, and %s measures it", error, again)
        return artifact
    try:
        return add_cost(artifact, cost)
    except OSError as error:
        raise ArtifactError(
            f"could not add the cost to {str(folder)!r}: {error.strerror}; the artifact is complete without it"
        ) from error


def add_cost(artifact: Artifact, cost: dict[str, Any]) -> Artifact:
    """Add a measured cost to the artifact's record and to its card, unless the user has rewritten the card.

    Raises:
        OSError: they cannot be written.
    """
    card, record = artifact.folder / CARD, artifact.record.model_copy(update={"cost": cost})
    if card.is_file() and card.read_text(encoding="utf-8") == model_card(artifact.record):
        write_text_atomically(model_card(record), card)
    write_record(artifact.folder, record)
    return Artifact(artifact.folder, record)


def evaluate_splits(runtime: Runtime, data: Prepared, splits: Sequence[Split], batch_size: int) -> SplitLogits:
    """The texts and logits of each split.

    Raises:
        ModelError: logits are not finite.
    """
    evaluated: SplitLogits = {}
    for split in splits:
        examples = data.corpus.split(split)
        evaluated[split] = (
            examples,
            predict_logits(runtime, data.tokens(examples), data.pad_id, batch_size, f"evaluating on {split}"),
        )
    for split, (_, logits) in evaluated.items():
        if not np.isfinite(logits).all():
            raise ModelError(NOT_FINITE.format(split))
    return evaluated


def save_trained(run: Run, model: "PreTrainedModel", data: Prepared) -> Callable[[Path], Runtime]:
    """The `save` of `write_outcome` for a trained model, which is evaluated in the precision of its training."""

    def save(folder: Path) -> Runtime:
        model.save_pretrained(folder)
        runtime = trained_runtime(run, model)
        write_probe(folder, Prober(model, data.tokenizer, data.pad_id, data.max_length).probe(runtime))
        return runtime

    return save


def trained_runtime(run: Run, model: "PreTrainedModel") -> Runtime:
    """The runtime that evaluates a trained model, on the device and in the precision of its training."""
    model.to(run.trainer.device()).eval()  # type: ignore[arg-type]
    return PyTorchRuntime(model, HALF.get(run.trainer.resolved_precision()))


def print_start(data: Prepared, loaded: LoadedModel, run: Run) -> None:
    """Print the data, the model, the device and the precision, and what the model cannot read of the texts."""
    corpus = data.corpus
    sizes = " / ".join(f"{size:,}" for size in corpus.sizes().values())
    left_out = corpus.report.left_out()
    out = console()
    out.print(
        f"{corpus.name}: {sizes} texts (train / val / test){f', {left_out}' * bool(left_out)}; "
        f"{len(corpus.labels)} classes; {loaded.origin.name}: {_millions(loaded.model)} parameters; "
        f"{run.trainer.device().type}, {run.trainer.resolved_precision()}",
        highlight=False,
    )
    for note in data.counts.notes(data.max_length, "they are truncated (model.max_length)", data.cleaning):
        out.print(f"texts     {note}", highlight=False)


def _millions(model: "PreTrainedModel") -> str:
    total, trained = model.num_parameters(), count_trainable(model)
    return f"{total / 1e6:.1f} M" if trained == total else f"{trained / 1e6:.1f} of {total / 1e6:.1f} M"


def print_result(artifact: Artifact) -> None:
    """Print the tables of metrics, the artifact's path, and the command that uses it next."""
    shown = shown_path(artifact.folder)
    out = console()
    if artifact.record.metrics:
        out.print(metrics_table(artifact.record))
    evaluated = next((split for split in ("test", "val") if split in artifact.record.metrics), None)
    if evaluated is not None:
        out.print(per_class_table(artifact.record, evaluated))
    if artifact.record.metrics and "label_only_baseline" in artifact.record.training:
        out.print(baseline_table(artifact.record))
    out.print(f"artifact  {shown}", highlight=False)
    # In a file like the one it was trained on, the column of the label is taken.
    columns = artifact.record.task.columns(artifact.record.labels, "")
    prefix = (
        ["stage.prefix=predicted_"] if artifact.record.config.get("data", {}).get("label_column") in columns else []
    )
    following = command("stage=predict", override_of("artifact", shown), "input=FILE", "output=FILE", *prefix)
    out.print(f"next      {following}", highlight=False)


def _record(
    run: Run,
    outcome: Outcome,
    data: Prepared,
    metrics: dict[str, dict[str, Any]],
    identity: str,
) -> Record:
    return Record(
        schema_version=SCHEMA_VERSION,
        id=identity,
        stage=outcome.stage,
        method=outcome.method,
        settings=outcome.settings,
        parent=outcome.lineage[-1].artifact,
        lineage=outcome.lineage,
        pretrained=outcome.lineage[-1].pretrained,
        data=DataRecord(
            source=data.corpus.name,
            fingerprint=data.corpus.fingerprint,
            sizes=data.corpus.sizes(),
            split_seed=run.data.split_seed,
            report=data.corpus.report.as_dict(),
        ),
        labels=list(data.corpus.labels),
        task=data.task,
        cleaning=data.cleaning,
        tokenizer_cleans=cleans_inside(data.tokenizer, data.cleaning),
        max_length=data.max_length,
        config=run.config,
        overrides=run.overrides,
        versions=versions(),
        cpu={"name": cpu_name(), "flags": sorted(cpu_flags())},
        seed=run.seed,
        training=outcome.training,
        metrics=metrics,
        predictions=PREDICTIONS,
        cost={},
    )
