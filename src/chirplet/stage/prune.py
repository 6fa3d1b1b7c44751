"""Take weights away from an artifact, and let what is left learn to do without them."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import SerializeAsAny

from chirplet.artifact.artifact import RECORD, Artifact, Record
from chirplet.config.schema import Count, Fraction, Positive, Probability
from chirplet.data.batching.tokens import UNCUT, Tokens
from chirplet.pruner.base import Pruned, Pruner
from chirplet.pruner.masking.calibration import CalibrationData
from chirplet.stage.fit.settings import TrainingStage
from chirplet.stage.run.context import ArtifactFolder, Run, given_artifact
from chirplet.system.atomic_io import write_text_atomically
from chirplet.system.console import console
from chirplet.system.error import ArtifactError, ConfigError

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger

    from chirplet.module.pruning import Recovery
    from chirplet.pruner.masking.sparsity_curve import CurveEvaluator
    from chirplet.stage.run.parent import Parent
    from chirplet.stage.run.prepared import Prepared

PAGE = "pruning.html"


class Prune(TrainingStage):
    """How the pruned model recovers, and what is looked at on the way.

    `recovery` is from `labels`, from the dense parent's logits too (`distill`: `alpha` times the cross-entropy, the
    rest from the parent at `temperature`), or `none`; its last weights are kept, nothing is chosen by validation.
    `calibration_texts` of train are looked at by pruners that need some. `curve` lists sparsities that are tried on
    `curve_texts` drawn from validation, all at once and without recovery, but for those that the parent is past; for
    pruners of single weights by scores.
    """

    artifact: ArtifactFolder | None
    pruner: SerializeAsAny[Pruner]
    recovery: Literal["none", "labels", "distill"]
    alpha: Probability
    temperature: Positive
    calibration_texts: Count
    curve: list[Fraction]
    curve_texts: Count

    @property
    def method(self) -> str:
        """The pruner's name."""
        return self.pruner.option

    def run(self, run: Run) -> float | None:
        """Prune, recover, judge on test once at the end, write the artifact and a page of what was seen."""
        given_artifact(self.artifact)  # before torch is imported
        if self.pruner.trained and self.recovery == "none":
            other = f", or {self.pruner.at_once}" if self.pruner.at_once else ""
            raise ConfigError(
                "stage.recovery: got 'none', but this pruner prunes while it recovers; "
                f"should be labels or distill{other}"
            )
        from chirplet.pruner.masking.sparsity_curve import module_sparsity
        from chirplet.stage.fit.seeding import seed_everything
        from chirplet.stage.output.write_artifact import Outcome, print_result, save_trained, write_outcome
        from chirplet.stage.run.loggers import log_artifact, open_loggers
        from chirplet.stage.run.parent import open_parent

        seed_everything(run)
        parent = open_parent(run, self.artifact)
        self.check_splits(parent.data.corpus)
        self.pruner.check(parent.model, parent.data.tokenizer)
        self._print_start(parent)
        calibration = self._calibration_data(parent, run.seed)
        seen = self._look(parent, calibration, run)
        pruned = self.pruner.prune(parent.model, calibration)
        data = replace(parent.data, tokenizer=pruned.tokenizer)
        with open_loggers(run, "prune", parent.lineage) as loggers:
            training: dict[str, Any] = {"steps": 0}
            if self.recovery != "none":
                training = self._recover(pruned, calibration, data, parent, run, loggers)
            reached = {"sparsity": module_sparsity(pruned.model), "reached": self.pruner.reached(pruned.model)}
            training["pruning"] = pruned.facts | seen | reached
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
        """One line before the work: what is pruned, how, and what it learns from afterwards."""

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

    def _look(self, parent: "Parent", calibration: CalibrationData, run: Run) -> dict[str, Any]:
        """What pruning at once does to validation texts, for the record; nothing is chosen by it."""
        if not self.curve:
            return {}
        return self.pruner.trials(parent.model, calibration, self.curve, partial(self._judges, parent, run))

    def _judges(self, parent: "Parent", run: Run) -> "CurveEvaluator":
        from chirplet.pruner.masking.sparsity_curve import CurveEvaluator
        from chirplet.stage.output.write_artifact import trained_runtime

        data, val = parent.data, parent.data.corpus.val
        # Drawn, since a file may be sorted.
        drawn = np.random.default_rng(run.seed).choice(len(val), min(self.curve_texts, len(val)), replace=False)
        val = val.take(np.sort(drawn))
        runtime = partial(trained_runtime, run)  # as the result is judged
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
        """Train what is left; an account for the record."""
        from chirplet.data.batching.batches import training_loader
        from chirplet.module.distillation import TEACHER_LOGITS
        from chirplet.stage.distillation.teacher_logits import teacher_logits
        from chirplet.stage.fit.fit import fit

        train, trainer = data.corpus.train, run.trainer
        steps = trainer.optimizer_steps(-(-len(train) // self.batch_size))
        # Before the parent is asked, since it refuses what cannot be.
        recovery = self._module(pruned, calibration, data, steps, run)
        compared_with = {}
        if self.recovery == "distill":
            compared_with[TEACHER_LOGITS] = teacher_logits(
                parent.artifact,
                train,
                run.cache_dir,
                batch_size=self.eval_batch_size,
                accelerator=trainer.accelerator,
                threads=trainer.threads,
                verify=run.verify,
            )
        loader = training_loader(
            data.tokens(train),
            data.task.targets(train),
            data.pad_id,
            self.batch_size,
            run.seed,
            trainer.pool_batches,
            trainer.pad_to_multiple_of,
            compared_with,
        )
        # While sparsity rises, the best epoch would be the least pruned one: the last is kept, of all pruners alike.
        account = fit(run, recovery, loader, None, loggers, self.resume)
        recovery.masking.finish()
        return account

    def _module(
        self, pruned: Pruned, calibration: CalibrationData, data: "Prepared", steps: int, run: Run
    ) -> "Recovery":
        from chirplet.model.family import family_of
        from chirplet.module.pruning import Recovery

        model = pruned.model.train()  # Lightning keeps the mode it finds
        family_of(model).word_embeddings(model).sparse = run.trainer.rowwise_embeddings
        optimization = self.optimization(model, steps)
        # Groups first: what a pruner learns beside the weights is in none of the model's.
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
            run.trainer.encoder,
            alpha=self.alpha,
            temperature=self.temperature,
            masking=masking,
        )


def _uncut(data: "Prepared") -> Tokens:
    """The tokens of all train texts, none of them cut."""

    return replace(data, max_length=UNCUT).tokens(data.corpus.train)


def _report_pruning(own: Record, parent: Record, target: Path) -> str:
    """Tables of what is zero, and a page that has the other runs from this parent too; gives that page."""
    from chirplet.report.pruning import cost_line, page, tables

    shown = page(own, parent, _other_runs(own, target.parent.parent))
    write_text_atomically(shown, target)
    out = console()
    for table in tables(own):
        out.print(table)
    if own.cost:
        out.print(f"cost      {cost_line(own)}")
    out.print(f"page      {target}")
    return shown


def _other_runs(own: Record, folder: Path) -> list[Record]:
    """Records of other prunings of the same parent by the same method, in runs below `folder`."""

    found = []
    for path in sorted(folder.glob(f"*/artifact/{RECORD}")):
        try:
            record = Artifact.open(path.parent).record
        except ArtifactError:  # another run's trouble
            continue
        same = (record.stage, record.method, record.parent) == (own.stage, own.method, own.parent)
        pruned = "pruning" in record.training and "pruner" in record.settings
        if same and pruned and record.id != own.id:
            found.append(record)
    return found
