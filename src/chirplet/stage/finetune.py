"""Fine-tune a pretrained encoder on labeled texts."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import model_validator

from chirplet.callback.base import LAST
from chirplet.config.schema import Index
from chirplet.model.loading.blueprint import Blueprint
from chirplet.stage.fit.settings import TrainingStage
from chirplet.stage.run.context import Run

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from chirplet.data.base import Examples
    from chirplet.module.classifier import Classifier
    from chirplet.task.base import Task
    from chirplet.trainer import TrainerSettings


class Finetune(TrainingStage):
    """Fine-tuning. Adds the choice of trained weights to the settings of `TrainingStage`.

    `layers` is the number of encoder layers trained, counted from the top (`all`: every layer). It is used by
    `method: last_layers` only. `final` trains on the train and validation texts together for exactly
    `trainer.max_epochs`, so no checkpoint is chosen by validation.
    """

    also_takes: ClassVar[tuple[str, ...]] = ("model", "task")

    method: Literal["full", "last_layers", "head"]
    layers: Index | Literal["all"] | None
    embeddings: bool
    final: bool

    @model_validator(mode="after")
    def _layers_agree_with_method(self) -> Self:
        if self.method == "last_layers" and self.layers is None:
            raise ValueError("layers: got None, should be a whole number from 0 or all with method=last_layers")
        if self.method != "last_layers" and self.layers is not None:
            raise ValueError(f"layers: got {self.layers}, should be null unless method=last_layers")
        return self

    @property
    def checkpoints(self) -> int:
        return 1 if self.final else 2

    @property
    def moments(self) -> int:
        return 2 if self.method == "full" else 0

    def check_model(self, parents: Sequence[Blueprint]) -> Blueprint:
        from chirplet.model.structure.freezing import trained_layers

        (model,) = parents
        if self.method == "last_layers":
            trained_layers(model.config, self.layers)
        return model

    def run(self, run: Run) -> float | None:
        """Train, choose the best epoch on validation, evaluate once on test, and write the artifact."""
        from chirplet.data.preparation.prepare import train_and_val
        from chirplet.model.loading.load import load_model, load_tokenizer
        from chirplet.stage.fit.fit import checkpoint_folder, fit, resumable_from
        from chirplet.stage.fit.loaders import training_batches, validation_batches
        from chirplet.stage.fit.seeding import seed_everything
        from chirplet.stage.output.write_artifact import (
            Outcome,
            lineage_of,
            print_result,
            print_start,
            save_trained,
            write_outcome,
        )
        from chirplet.stage.run.compatibility import starts_from_val
        from chirplet.stage.run.loggers import log_artifact, open_loggers
        from chirplet.stage.run.prepared import Prepared

        seed_everything(run)
        task, corpus = run.task, run.corpus()
        self.check_splits(corpus, validated=not self.final)
        tokenizer = load_tokenizer(run.model)
        data = Prepared.for_model(run.model, tokenizer, corpus, run)
        loaded = load_model(run.model, corpus.labels, run.seed, task.problem_type)
        lineage = lineage_of(run, loaded)

        train = train_and_val(corpus, run.data) if self.final else corpus.train
        train_loader = training_batches(run, data, train, self.batch_size)
        val_loader = None if self.final else validation_batches(run, data, self.eval_batch_size)
        classifier = self._classifier(
            loaded.model, task, train, corpus.labels, run.trainer, run.trainer.optimizer_steps(len(train_loader))
        )
        print_start(data, loaded, run)
        with open_loggers(run, "finetune", lineage) as loggers:
            training = fit(run, classifier, train_loader, val_loader, loggers, self.resume)
            training |= {"final": self.final or starts_from_val(run.model), "texts": len(train)}
            training["tokens"] = asdict(data.counts)
            outcome = Outcome("finetune", self.method, self.recorded_settings(), lineage, training)
            evaluated = self.evaluated(validated=not self.final)
            with resumable_from(checkpoint_folder(run, self.resume) / LAST):
                save = save_trained(run, loaded.model, data)
                artifact = write_outcome(run, outcome, save, data, evaluated, self.eval_batch_size, self.cost_on(run))
            log_artifact(loggers, artifact, corpus)
        print_result(artifact)
        return artifact.metric(run.objective)

    def _classifier(
        self,
        model: "PreTrainedModel",
        task: "Task",
        train: "Examples",
        labels: tuple[str, ...],
        trainer: "TrainerSettings",
        steps: int,
    ) -> "Classifier":
        from chirplet.model.family import family_of
        from chirplet.model.structure.freezing import freeze
        from chirplet.module.classifier import Classifier

        model.train()  # Lightning does not switch the mode
        freeze(model, self.method, self.layers, self.embeddings)
        family_of(model).word_embeddings(model).sparse = trainer.resolved_rowwise_embeddings()
        weights = self.loss_weights(task, train, labels)
        optimization = self.optimization(model, steps)
        return Classifier(model, task, labels, optimization, self.label_smoothing, weights, trainer.resolved_encoder())
