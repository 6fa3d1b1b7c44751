"""Fine-tune a pretrained encoder on labelled tweets."""

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from chirplet.callback.checkpoint import LAST
from chirplet.config import Count, Fraction, Index, NonNegative, Positive, existing_file
from chirplet.data.corpus import Split
from chirplet.error import ArtifactError, ConfigError
from chirplet.stage.base import Run, Stage

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from chirplet.data.corpus import Corpus, Tweets
    from chirplet.module.classifier import Classifier
    from chirplet.trainer import TrainerSettings


class Finetune(Stage):
    """How the weights are trained and how the result is judged.

    `layers` counts encoder layers from the top (`all` is every one) and belongs to `method: last_layers`.
    `layer_decay` multiplies the learning rate once per layer from the top down (Howard & Ruder 2018, arXiv
    1801.06146). `final` trains on train and validation tweets together for exactly `trainer.max_epochs`: nothing is
    then chosen by validation.
    """

    method: Literal["full", "last_layers", "head"]
    layers: Index | Literal["all"] | None
    embeddings: bool
    learning_rate: Positive
    head_learning_rate: Positive | None
    weight_decay: NonNegative
    layer_decay: Annotated[float, Field(gt=0.0, le=1.0)]
    schedule: Literal["linear", "cosine", "polynomial", "constant"]
    warmup_fraction: Fraction
    label_smoothing: Fraction
    class_weights: Literal["balanced"] | list[Positive] | None
    batch_size: Count
    eval_batch_size: Count
    final: bool
    evaluate_train: bool
    evaluate_test: bool
    measure_cost: bool
    resume: str | None

    @field_validator("resume")
    @classmethod
    def _checkpoint_exists(cls, resume: str | None) -> str | None:
        return resume if resume is None else existing_file(resume, "a checkpoint (.ckpt) of an interrupted run")

    @model_validator(mode="after")
    def _layers_agree_with_method(self) -> Self:
        if self.method == "last_layers" and self.layers is None:
            raise ValueError("layers: got None, should be a whole number from 0 or all with method=last_layers")
        if self.method != "last_layers" and self.layers is not None:
            raise ValueError(f"layers: got {self.layers}, should be null unless method=last_layers")
        return self

    def run(self, run: Run) -> float | None:
        """Train, choose by validation, judge on test once at the end, and write the artifact."""
        from chirplet.data.batches import evaluation_loader, training_loader
        from chirplet.data.prepare import prepare, train_and_val
        from chirplet.model.loading import load_model, load_tokenizer
        from chirplet.stage.fitting import checkpoint_folder, fit, seed_everything
        from chirplet.stage.loggers import open_loggers
        from chirplet.stage.outcome import Outcome, Prepared, lineage_of, tell_opening, tell_result, write_outcome

        seed_everything(run)
        corpus = prepare(run.data, run.cache_dir)
        self._check_splits(corpus)
        data = Prepared(corpus, load_tokenizer(run.model), run.model.cleaning, run.model.max_length, run.cache_dir)
        loaded = load_model(run.model, corpus.labels, run.seed)
        lineage = lineage_of(run, loaded)

        train = train_and_val(corpus, run.data) if self.final else corpus.train
        multiple = run.trainer.pad_to_multiple_of
        train_loader = training_loader(
            data.tokens(train), train.label, data.pad_id, self.batch_size, run.seed, multiple
        )
        val_loader = None
        if not self.final:
            val = corpus.val
            val_loader = evaluation_loader(data.tokens(val), val.label, data.pad_id, self.eval_batch_size, multiple)
        classifier = self._classifier(
            loaded.model, train, corpus.labels, run.trainer, run.trainer.optimizer_steps(len(train_loader))
        )
        tell_opening(corpus, loaded, run)
        with open_loggers(run) as loggers:
            training = fit(run, classifier, train_loader, val_loader, loggers, self.resume)
            training |= {"final": self.final, "tweets": len(train)}
            outcome = Outcome("finetune", self.method, self.model_dump(exclude={"resume"}), lineage, training)
            try:
                artifact = write_outcome(
                    run, outcome, loaded.model, data, self._judged(), self.eval_batch_size, self.measure_cost
                )
            except ArtifactError as error:
                last = checkpoint_folder(run, self.resume) / LAST
                kept = f"; the same command with resume={last} needs no new training" if last.exists() else ""
                raise ArtifactError(f"{error}{kept}") from error
            for logger in loggers:
                logger.log_metrics(artifact.scalars(), step=training["steps"])
        tell_result(artifact)
        return artifact.metric(run.objective)

    def _check_splits(self, corpus: "Corpus") -> None:
        if not self.final and len(corpus.val) == 0:
            raise ConfigError(
                "data.val_fraction: leaves no tweets to validate on; make it more, or set stage.final=true"
            )
        if self.evaluate_test and len(corpus.test) == 0:
            raise ConfigError(
                "data.test_fraction: leaves no tweets to test on; make it more, or set stage.evaluate_test=false"
            )

    def _judged(self) -> list[Split]:
        wanted: dict[Split, bool] = {
            "train": self.evaluate_train,
            "val": not self.final,
            "test": self.evaluate_test,
        }
        return [split for split, judged in wanted.items() if judged]

    def _classifier(
        self,
        model: "PreTrainedModel",
        train: "Tweets",
        labels: tuple[str, ...],
        trainer: "TrainerSettings",
        steps: int,
    ) -> "Classifier":
        import torch

        from chirplet.model.freezing import freeze
        from chirplet.model.parameters import parameter_groups
        from chirplet.model.structure import word_embeddings
        from chirplet.module.classifier import Classifier, Optimization, balanced_weights

        model.train()  # Lightning keeps the mode it finds
        freeze(model, self.method, self.layers, self.embeddings)
        word_embeddings(model).sparse = trainer.rowwise_embeddings
        groups = parameter_groups(
            model, self.learning_rate, self.weight_decay, self.layer_decay, self.head_learning_rate
        )
        weights = None
        if self.class_weights == "balanced":
            weights = balanced_weights(train.label, len(labels))
        elif self.class_weights is not None:
            if len(self.class_weights) != len(labels):
                raise ConfigError(
                    f"stage.class_weights: got {len(self.class_weights)} weights, "
                    f"should be {len(labels)} ({', '.join(labels)})"
                )
            weights = torch.tensor(self.class_weights)
        optimization = Optimization(groups, self.schedule, self.warmup_fraction, steps)
        return Classifier(model, labels, optimization, self.label_smoothing, weights, trainer.fast_encoder)
