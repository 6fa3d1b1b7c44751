"""Prune an artifact and train the remaining weights to recover."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from pydantic import SerializeAsAny, model_validator

from chirplet.artifact.artifact import RECORD, Artifact, Record
from chirplet.config.schema import Count, Fraction, Positive, Probability
from chirplet.data.batching.tokens import UNCUT, Tokens
from chirplet.model.loading.blueprint import Blueprint
from chirplet.pruner.base import Pruned, Pruner
from chirplet.pruner.masking.calibration import CalibrationData
from chirplet.stage.fit.settings import TrainingStage
from chirplet.stage.run.context import ArtifactFolder, Run, given_artifact
from chirplet.system.atomic_io import write_text_atomically
from chirplet.system.console import console
from chirplet.system.error import ArtifactError
from chirplet.system.progress import Progress

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger

    from chirplet.module.pruning import Recovery
    from chirplet.pruner.masking.sparsity_curve import CurveEvaluator
    from chirplet.stage.run.parent import Parent
    from chirplet.stage.run.prepared import Prepared

PAGE = "pruning.html"


class Prune(TrainingStage):
    """Pruning, its recovery training, and the curve of accuracy by sparsity.

    `recovery` trains on `labels`, on labels and the dense parent's logits (`distill`: `alpha` times the cross-entropy,
    the rest from the parent at `temperature`), or is `none`. The last weights of the recovery are used; no checkpoint
    is chosen by validation. Pruners that need activations or gradients compute them on `calibration_texts` train texts.
    `curve` lists sparsities to evaluate in one shot, without recovery, on `curve_texts` sampled validation texts.
    Sparsities below the parent's are skipped. Only pruners that score single weights have a curve.
    """

    artifact: ArtifactFolder | None
    pruner: SerializeAsAny[Pruner]
    recovery: Literal["none", "labels", "distill"]
    alpha: Probability
    temperature: Positive
    calibration_texts: Count
    curve: list[Fraction]
    curve_texts: Count

    @model_validator(mode="after")
    def _recovers(self) -> Self:
        if self.pruner.trained and self.recovery == "none":
            other = f", or {self.pruner.at_once}" if self.pruner.at_once else ""
            raise ValueError(
                f"recovery: got 'none', but this pruner prunes while it recovers; should be labels or distill{other}"
            )
        return self

    @property
    def method(self) -> str:
        """The pruner's name."""
        return self.pruner.option

    @property
    def checkpoints(self) -> int:
        return 0 if self.recovery == "none" else 1

    def parents(self, run: Run) -> list[Blueprint]:
        given_artifact(self.artifact)  # before torch is imported
        from chirplet.stage.run.parent import artifact_blueprint

        return [artifact_blueprint(self.artifact)]

    def check_model(self, parents: Sequence[Blueprint]) -> Blueprint:
        (parent,) = parents
        parent.check_weights("artifact")
        return self.pruner.check(parent)

    def run(self, run: Run) -> float | None:
        """Prune, recover, evaluate once on test, and write the artifact and a page about the pruning."""
        from chirplet.pruner.masking.sparsity_curve import module_sparsity
        from chirplet.stage.fit.seeding import seed_everything
        from chirplet.stage.output.write_artifact import Outcome, print_result, save_trained, write_outcome
        from chirplet.stage.run.loggers import log_artifact, open_loggers
        from chirplet.stage.run.parent import open_parent

        seed_everything(run)
        parent = open_parent(run, self.artifact)
        self.check_splits(parent.data.corpus)
        self.pruner.check_weights(parent.model)
        self._print_start(parent)
        calibration = self._calibration_data(parent, run.seed)
        with Progress("pruning without recovery, for the curve"):
            curve = self._curve(parent, calibration, run)
        with Progress("pruning"):
            pruned = self.pruner.prune(parent.model, calibration)
        data = replace(parent.data, tokenizer=pruned.tokenizer)
        with open_loggers(run, "prune", parent.lineage) as loggers:
            training: dict[str, Any] = {"steps": 0}
            if self.recovery != "none":
                training = self._recover(pruned, calibration, data, parent, run, loggers)
            reached = {"sparsity": module_sparsity(pruned.model), "reached": self.pruner.reached(pruned.model)}
            training["pruning"] = pruned.facts | curve | reached
            settings = self.recorded_settings()
            artifact = write_outcome(
                run,
                Outcome("prune", self.method, settings, parent.lineage, training | parent.inherited),
                save_trained(run, pruned.model, data),
                data,
                self.evaluated(),
                self.eval_batch_size,
                self.cost_on(run),
                compared_with=parent.artifact.folder,
            )
            shown = _report_pruning(artifact.record, parent.record, run.output_dir / PAGE)
            log_artifact(loggers, artifact, data.corpus, {"pruning": shown})
        print_result(artifact)
        return artifact.metric(run.objective)

    def _print_start(self, parent: "Parent") -> None:
        weights = parent.model.num_parameters()
        after = {"none": "no recovery", "labels": "recovery from labels", "distill": "recovery from the parent"}
        console().print(f"{self.method}: {weights:,} parameters of {parent.artifact.folder}; {after[self.recovery]}")

    def _calibration_data(self, parent: "Parent", seed: int) -> CalibrationData:
        train, data = parent.data.corpus.train, parent.data
        count = min(self.calibration_texts, len(train))
        sample = train.take(np.random.default_rng(seed).choice(len(train), count, replace=False))
        uncut = partial(_uncut, data)
        return CalibrationData(
            data.task, data.tokens(sample), data.task.targets(sample), data.pad_id, data.tokenizer, uncut
        )

    def _curve(self, parent: "Parent", calibration: CalibrationData, run: Run) -> dict[str, Any]:
        """The validation metrics at each sparsity of `curve`, for the record only."""
        if not self.curve:
            return {}
        return self.pruner.trials(parent.model, calibration, self.curve, partial(self._curve_evaluator, parent, run))

    def _curve_evaluator(self, parent: "Parent", run: Run) -> "CurveEvaluator":
        from chirplet.pruner.masking.sparsity_curve import CurveEvaluator
        from chirplet.stage.output.write_artifact import trained_runtime

        data, val = parent.data, parent.data.corpus.val
        # A random sample, since the file may be sorted.
        drawn = np.random.default_rng(run.seed).choice(len(val), min(self.curve_texts, len(val)), replace=False)
        val = val.take(np.sort(drawn))
        runtime = partial(trained_runtime, run)  # the same runtime that evaluates the result
        return CurveEvaluator(data.evaluator(val, self.eval_batch_size), runtime)

    def _recover(
        self,
        pruned: Pruned,
        calibration: CalibrationData,
        data: "Prepared",
        parent: "Parent",
        run: Run,
        loggers: "Sequence[Logger]",
    ) -> dict[str, Any]:
        """Train the remaining weights. Returns what the record says about the training."""
        from chirplet.module.distillation import TEACHER_LOGITS
        from chirplet.stage.distillation.teacher_logits import teacher_logits
        from chirplet.stage.fit.fit import fit
        from chirplet.stage.fit.loaders import training_batches

        train, trainer = data.corpus.train, run.trainer
        steps = trainer.optimizer_steps(-(-len(train) // self.batch_size))
        # First, since it raises on invalid settings and the parent's logits are expensive.
        recovery = self._module(pruned, calibration, data, steps, run)
        extra = {}
        if self.recovery == "distill":
            extra[TEACHER_LOGITS] = teacher_logits(
                parent.artifact,
                train,
                run.cache_dir,
                batch_size=self.eval_batch_size,
                accelerator=trainer.accelerator,
                threads=trainer.threads,
                verify=run.verify,
            )
        loader = training_batches(run, data, train, self.batch_size, extra)
        # No validation loader: while sparsity rises, the best epoch would be the least pruned one.
        training = fit(run, recovery, loader, None, loggers, self.resume)
        recovery.masking.finish()
        return training

    def _module(
        self, pruned: Pruned, calibration: CalibrationData, data: "Prepared", steps: int, run: Run
    ) -> "Recovery":
        from chirplet.model.family import family_of
        from chirplet.module.pruning import Recovery

        model = pruned.model.train()  # Lightning does not switch the mode
        family_of(model).word_embeddings(model).sparse = run.trainer.resolved_rowwise_embeddings()
        optimization = self.optimization(model, steps)
        # After `optimization`, so that the model's parameter groups do not contain the pruner's scores.
        masking = self.pruner.masking(pruned, calibration, steps)
        optimization.groups.extend(masking.groups())
        labels = data.corpus.labels
        return Recovery(
            model,
            data.task,
            labels,
            optimization,
            self.label_smoothing,
            self.loss_weights(data.task, data.corpus.train, labels),
            run.trainer.resolved_encoder(),
            alpha=self.alpha,
            temperature=self.temperature,
            masking=masking,
        )


def _uncut(data: "Prepared") -> Tokens:
    """The untruncated tokens of all train texts."""
    return replace(data, max_length=UNCUT).tokens(data.corpus.train)


def _report_pruning(record: Record, parent: Record, target: Path) -> str:
    """Print tables of what was pruned, and write and return a page that also shows other runs from this parent."""
    from chirplet.report.pruning import cost_line, page, tables

    shown = page(record, parent, _other_runs(record, target.parent.parent))
    write_text_atomically(shown, target)
    out = console()
    for table in tables(record):
        out.print(table)
    if record.cost:
        out.print(f"cost      {cost_line(record)}")
    out.print(f"page      {target}")
    return shown


def _other_runs(this_run: Record, folder: Path) -> list[Record]:
    """Records of other prunings of the same parent by the same method, in runs below `folder`."""
    records = []
    for path in sorted(folder.glob(f"*/artifact/{RECORD}")):
        try:
            record = Artifact.open(path.parent).record
        except ArtifactError:  # a damaged artifact of another run is no error of this one
            continue
        same = (record.stage, record.method, record.parent) == (this_run.stage, this_run.method, this_run.parent)
        pruned = "pruning" in record.training and "pruner" in record.settings
        if same and pruned and record.id != this_run.id:
            records.append(record)
    return records
