"""Quantize an artifact and verify the saved files in a new process."""

from collections.abc import Collection, Sequence
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import SerializeAsAny, model_validator

from chirplet.artifact.artifact import Record
from chirplet.config.schema import Count, Index, NonNegative
from chirplet.data.base import Split
from chirplet.model.loading.blueprint import Blueprint
from chirplet.quantizer.base import Calibration, Quantizer
from chirplet.stage.base import MeasuringStage
from chirplet.stage.fit.settings import check_filled
from chirplet.stage.run.context import AUTO, ArtifactFolder, Checkpoint, Run, given_artifact
from chirplet.system.atomic_io import scratch_folder
from chirplet.system.console import console
from chirplet.system.error import ConfigError
from chirplet.system.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor

    from chirplet.evaluation.evaluator import Evaluator, Quality
    from chirplet.runtime.base import Runtime
    from chirplet.stage.output.variants import Variants
    from chirplet.stage.run.parent import Parent

PLOT = "sensitivity.svg"


class Quantize(MeasuringStage):
    """Quantization, and the accuracy drop it may cost. `conf/stage/quantize.yaml` describes each key."""

    artifact: ArtifactFolder | None
    quantizer: SerializeAsAny[Quantizer]
    tolerance: NonNegative | None
    sensitivity_texts: Index
    batch_size: Count
    evaluate_train: bool
    evaluate_test: bool
    resume: Checkpoint | None

    @model_validator(mode="after")
    def _settings_fit(self) -> Self:
        if self.tolerance is not None and self.sensitivity_texts == 0:
            raise ValueError(
                "sensitivity_texts: got 0, should be at least 1 to choose the excluded layers; "
                "or set stage.tolerance=null"
            )
        if self.resume not in (None, AUTO) and self.quantizer.training is None:
            raise ValueError(
                f"resume: got {self.resume!r}, but quantizer={self.quantizer.option} does not train; quantizer=qat does"
            )
        return self

    def ignores(self) -> set[str]:
        """The keys of `Stage.ignores`, and `trainer.max_epochs`: quantizers that train have an `epochs` key."""
        return super().ignores() | {"trainer.max_epochs"}

    def parents(self, run: Run) -> list[Blueprint]:
        self._check_processes(run)
        given_artifact(self.artifact)  # before torch is imported
        from chirplet.stage.run.parent import artifact_blueprint

        return [artifact_blueprint(self.artifact)]

    def writes(self, run: Run, model: Blueprint) -> int:
        """Nothing that is known before the model is quantized."""
        return 0

    def check_model(self, parents: Sequence[Blueprint]) -> Blueprint:
        (parent,) = parents
        parent.check_weights("artifact")
        self.quantizer.check(parent.config)
        return replace(parent, runtime=self.quantizer.runtime)

    def run(self, run: Run) -> float | None:
        """Quantize all but the most sensitive layers, write, and verify the written files in a new process."""
        from chirplet.report.gain import gain
        from chirplet.report.sensitivity import sensitivity_table
        from chirplet.stage.fit.seeding import seed_everything
        from chirplet.stage.output.variants import Variants
        from chirplet.stage.output.verify import verify_saved
        from chirplet.stage.output.write_artifact import Outcome, print_result, write_outcome
        from chirplet.stage.run.loggers import log_artifact, open_loggers
        from chirplet.stage.run.parent import open_parent

        seed_everything(run)
        parent = open_parent(run, self.artifact)
        splits = self._splits(parent)
        with ExitStack() as stack:
            loggers = stack.enter_context(open_loggers(run, "quantize", parent.lineage))
            workspace = stack.enter_context(scratch_folder())
            calibration = Calibration(parent.data.tokens(parent.data.corpus.train), parent.data.pad_id)
            # First, since it raises on models that cannot be quantized.
            with Progress("quantizing"):
                quantization = self.quantizer.prepare(parent.model, calibration, workspace)
            # Before the model is trained further: the drop is measured from the parent.
            before = None if self.tolerance is None else self._evaluator(parent)(_in_fp32(run, parent))
            training: dict[str, Any] = {}
            rounded = self.quantizer.training
            if rounded is not None:
                from chirplet.stage.fit.qat import train_rounded

                training = train_rounded(run, rounded, parent, loggers, self.resume)
                quantization = self.quantizer.prepare(parent.model, calibration, workspace)
            variants = Variants(run, parent, quantization, workspace)
            training |= {"arithmetic": quantization.facts} | self._excluded(run, before, parent, variants)

            settings = self.recorded_settings()
            training |= parent.inherited
            outcome = Outcome("quantize", self.quantizer.option, settings, parent.lineage, training)
            artifact = write_outcome(
                run,
                outcome,
                partial(variants.save, excluded=training["excluded_layers"]),
                parent.data,
                splits,
                self.batch_size,
                self.cost_on(run),
                summarize=lambda folder, evaluated: verify_saved(run, folder, parent.data, evaluated, self.batch_size),
                compared_with=parent.artifact.folder,
            )
            log_artifact(loggers, artifact, parent.data.corpus, _figures(artifact.record, run.output_dir / PLOT))
        if artifact.record.training["sensitivity"]:
            console().print(sensitivity_table(artifact.record))
        print_result(artifact)
        console().print(gain(artifact.record), highlight=False)
        return artifact.metric(run.objective)

    def _check_processes(self, run: Run) -> None:
        if self.quantizer.training is not None and run.trainer.devices > 1:
            raise ConfigError(
                f"trainer.devices: got {run.trainer.devices}, should be 1 with quantizer={self.quantizer.option}, "
                "which rounds by the range of a whole batch"
            )

    def _splits(self, parent: "Parent") -> list[Split]:
        corpus = parent.data.corpus
        check_filled(
            corpus, val=self.tolerance is not None, test=self.evaluate_test, without_val="set stage.tolerance=null"
        )
        wanted: dict[Split, bool] = {
            "train": self.evaluate_train,
            "val": len(corpus.val) > 0,
            "test": self.evaluate_test,
        }
        return [split for split, evaluated in wanted.items() if evaluated]

    def _evaluator(self, parent: "Parent", texts: int | None = None) -> "Evaluator":
        """The evaluator on the validation split, or on `texts` evenly spaced texts of it."""
        data = parent.data
        val = data.corpus.val
        if texts is not None and texts < len(val):
            val = val.take(np.linspace(0, len(val) - 1, texts).round().astype(np.int64))
        return data.evaluator(val, self.batch_size)

    def _excluded(
        self,
        run: Run,
        before: "tuple[Quality, Tensor] | None",
        parent: "Parent",
        variants: "Variants",
    ) -> dict[str, Any]:
        """The layers excluded from quantization, the sensitivity of each layer, and the search's trials."""
        from chirplet.quantizer.mixed_precision.search import fewest_excluded, sensitivities

        def quantized(excluded: Collection[str], evaluator: "Evaluator", reference: "Tensor | None") -> "Quality":
            with variants.opened(excluded) as runtime:
                return evaluator(runtime, reference)[0]

        sensitivity: dict[str, dict[str, float]] = {}
        few, layers = self.sensitivity_texts, variants.quantization.layers
        if layers and few and len(parent.data.corpus.val):
            sample = self._evaluator(parent, few)
            quality, logits = sample(_in_fp32(run, parent))
            sensitivity = sensitivities(layers, quality, lambda excluded: quantized(excluded, sample, logits))
        results: dict[str, Any] = {"excluded_layers": [], "sensitivity": sensitivity}
        if before is not None and self.tolerance is not None:
            # After training, differences from the parent's logits are not due to rounding: compare accuracy alone.
            quality, answers = before[0], before[1] if self.quantizer.training is None else None
            whole = self._evaluator(parent)
            with Progress("choosing the excluded layers"):
                excluded, tried = fewest_excluded(
                    sensitivity, quality, self.tolerance, lambda excluded: quantized(excluded, whole, answers)
                )
            results |= {"excluded_layers": excluded, "tried": tried, "fp32_val_accuracy": quality.accuracy}
        return results


def _figures(record: Record, path: Path) -> dict[str, str]:
    """The figure of sensitivities, if any were measured: saved as `path`, and returned as a page for loggers."""
    from chirplet.report.page import figure_page
    from chirplet.report.sensitivity import save_sensitivity

    if not record.training["sensitivity"]:
        return {}
    return {"sensitivity": figure_page(save_sensitivity(record, path), f"{record.method}: how sensitive layers are")}


def _in_fp32(run: Run, parent: "Parent") -> "Runtime":
    """The parent's model on the run's device. `parent.model` stays on the CPU, for the quantizer."""
    from chirplet.runtime.pytorch import PyTorchRuntime

    device = run.trainer.device()
    model = parent.model if device.type == "cpu" else deepcopy(parent.model).to(device)  # type: ignore[arg-type]
    return PyTorchRuntime(model)
