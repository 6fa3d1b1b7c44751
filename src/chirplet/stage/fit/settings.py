"""Settings shared by stages that train: optimization, batches and evaluation."""

from abc import ABC
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from chirplet.callback.checkpoint import CheckpointSettings
from chirplet.config.schema import Count, Fraction, NonNegative, Positive
from chirplet.data.base import Corpus, Examples, Split
from chirplet.model.loading.blueprint import Blueprint
from chirplet.stage.base import MeasuringStage
from chirplet.stage.run.context import AUTO, Checkpoint, Run
from chirplet.system.error import ConfigError
from chirplet.task.base import Task

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from chirplet.module.step.training_module import Optimization


class TrainingStage(MeasuringStage, ABC):
    """Keys of `conf/stage/_training.yaml`.

    `layer_decay` multiplies the learning rate once per layer from the top down (Howard & Ruder 2018, arXiv
    1801.06146).
    """

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
    evaluate_train: bool
    evaluate_test: bool
    resume: Checkpoint | None

    @property
    def checkpoints(self) -> int:
        """Checkpoints that it leaves at least: the last one and, chosen by validation, the best one."""
        return 2

    @property
    def moments(self) -> int:
        """Moments of the optimizer for each weight, at least."""
        return 2

    def writes(self, run: Run, model: Blueprint) -> int:
        """The bytes of the artifact and, unless the run resumes from another folder, of the checkpoints."""
        weights = super().writes(run, model)
        saves = any(isinstance(entry, CheckpointSettings) for entry in run.callbacks.values())
        return weights * (1 + self.checkpoints * (1 + self.moments) * (saves and self.resume in (None, AUTO)))

    def optimization(self, model: "PreTrainedModel", steps: int) -> "Optimization":
        """Parameter groups of the weights of `model` that are not frozen, and the schedule over `steps` steps."""
        from chirplet.model.structure.parameter_groups import parameter_groups
        from chirplet.module.step.training_module import Optimization

        groups = parameter_groups(
            model, self.learning_rate, self.weight_decay, self.layer_decay, self.head_learning_rate
        )
        return Optimization(groups, self.schedule, self.warmup_fraction, steps)

    def loss_weights(self, task: Task, train: Examples, labels: tuple[str, ...]) -> "Tensor | None":
        """The weight of each class in the loss, shape (classes,), or None.

        Raises:
            ConfigError: there is not one weight per label.
        """
        import torch

        if self.class_weights is None:
            return None
        if self.class_weights == "balanced":
            return task.balanced_weights(task.targets(train), len(labels))
        if len(self.class_weights) != len(labels):
            raise ConfigError(
                f"stage.class_weights: got {len(self.class_weights)} weights, "
                f"should be {len(labels)} ({', '.join(labels)})"
            )
        return torch.tensor(self.class_weights)

    def evaluated(self, validated: bool = True) -> list[Split]:
        """The splits to evaluate the result on; `validated` is whether val was not trained on."""
        wanted: dict[Split, bool] = {"train": self.evaluate_train, "val": validated, "test": self.evaluate_test}
        return [split for split, evaluated in wanted.items() if evaluated]

    def check_splits(self, corpus: Corpus, validated: bool = True) -> None:
        """Check that the splits to evaluate on have texts.

        Raises:
            ConfigError: one is empty.
        """
        check_filled(corpus, val=validated, test=self.evaluate_test, without_val="finetune with stage.final=true")


def check_filled(corpus: Corpus, *, val: bool, test: bool, without_val: str) -> None:
    """Check that the requested splits have texts. `without_val` is the advice for runs without validation.

    Raises:
        ConfigError: one is empty.
    """
    if val and len(corpus.val) == 0:
        raise ConfigError(f"data.val_fraction: leaves no texts to validate on; make it more, or {without_val}")
    if test and len(corpus.test) == 0:
        raise ConfigError(
            "data.test_fraction: leaves no texts to test on; make it more, or set stage.evaluate_test=false"
        )
