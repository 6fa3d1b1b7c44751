"""What a task is: the one module that reads targets and logits.

A text has a target and the model gives it logits. A task says what both mean: which loss trains the model, what the
logits are decoded to, and when that is right. Every other module passes targets and logits on and asks the task.

Arrays of n texts with k labels have these shapes: logits (n, k), a logit for each label; targets (n,) or (n, k), as the
task has them; what `decode` gives has the shape of the targets.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from chirplet.config.schema import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from chirplet.data.base import Examples

UNLABELLED = -100
"""The label in the data of a text that has none."""

DECIMALS = 8
"""Of the probabilities in a table: more than a model knows, few enough that a row's sum is 1 to seven of them."""

Targets = NDArray[Any]
"""Targets, or decoded logits; of the task's dtype."""
Logits = NDArray[np.float32] | NDArray[np.float64]
Mask = NDArray[np.bool_]


class Task(Settings, ABC):
    """Settings of one task. Its file is called as its class: `single_label.py` holds `SingleLabel`."""

    problem_type: ClassVar[str]
    """What `transformers` calls it in `config.json`."""

    @property
    def name(self) -> str:
        """As in `task=NAME`."""
        return type(self).__module__.rpartition(".")[2]

    def recorded(self) -> dict[str, Any]:
        """Name and settings, which `open_task` takes."""
        return {"name": self.name} | self.model_dump()

    # Targets.

    @abstractmethod
    def targets(self, texts: "Examples") -> Targets:
        """What the labels in the data become. A label of `UNLABELLED` becomes a target that `labeled` knows."""

    @abstractmethod
    def no_targets(self, labels: int) -> Targets:
        """Targets of no text, which have dtype and shape nevertheless: (0,) or (0, labels)."""

    @abstractmethod
    def labeled(self, targets: "Tensor") -> "Tensor":
        """Which texts have a label; boolean, shape (n,)."""

    @abstractmethod
    def fault(self, targets: Targets, labels: int) -> str | None:
        """What targets that were read from a file should be, where they are not; None where all is well."""

    # Loss.

    @abstractmethod
    def loss(
        self,
        logits: "Tensor",
        targets: "Tensor",
        class_weights: "Tensor | None" = None,
        label_smoothing: float = 0.0,
        reduction: Literal["mean", "sum"] = "mean",
    ) -> "Tensor":
        """The loss in nats, of texts that have a label.

        Args:
            logits: shape (n, labels).
            targets: of the same texts.
            class_weights: weight of each label, shape (labels,), or None; a mean divides by their sum.
            label_smoothing: mass spread over other labels, in [0, 1).
            reduction: over texts.
        """

    @abstractmethod
    def loss_weight(self, targets: "Tensor", class_weights: "Tensor | None") -> "Tensor":
        """What the mean of `loss` divides by; a scalar."""

    @abstractmethod
    def balanced_weights(self, targets: Targets, labels: int) -> "Tensor":
        """Weights under which every label counts the same, shape (labels,)."""

    @abstractmethod
    def soft_loss(self, logits: "Tensor", teacher_logits: "Tensor", temperature: float) -> "Tensor":
        """The distillation loss at a temperature, in nats, a mean over texts; both logits have shape (n, labels)."""

    def batch_loss(
        self, logits: "Tensor", batch: "dict[str, Tensor]", class_weights: "Tensor | None", label_smoothing: float
    ) -> "Tensor":
        """The mean loss of a batch, or what this process contributes to it.

        Gradients of processes are averaged. Each multiplies the mean over its part by (processes · weight of the part /
        weight of the batch), so that the average is the gradient of the mean over the whole batch.
        """
        mean = self.loss(logits, batch["labels"], class_weights, label_smoothing)
        return mean * self._batch_factor(batch, class_weights)

    def _batch_factor(self, batch: "dict[str, Tensor]", class_weights: "Tensor | None") -> "Tensor | float":
        if "texts_of" not in batch:
            return 1.0
        part = batch["labels"][: int(batch["texts_of"][0])]
        weight, whole = (self.loss_weight(targets, class_weights) for targets in (part, batch["whole_labels"]))
        return batch["processes"] * weight / whole

    # Decoding.

    @abstractmethod
    def decode(self, logits: Logits) -> Targets:
        """The labels that the logits amount to, in the form of targets."""

    @abstractmethod
    def probabilities(self, logits: Logits) -> NDArray[np.float64]:
        """Of each label, shape (n, labels)."""

    @abstractmethod
    def activate(self, logits: "Tensor") -> "Tensor":
        """`probabilities` as a tensor, in the precision and on the device of the logits."""

    @abstractmethod
    def names(self, targets: Targets, labels: Sequence[str]) -> list[str]:
        """Targets, or decoded logits, as text."""

    @abstractmethod
    def confidence(self, logits: Logits) -> NDArray[np.float64]:
        """The probability of what `decode` gives, shape (n,)."""

    # Evaluation.

    @abstractmethod
    def evaluate(
        self, logits: "NDArray[np.float32] | Tensor", targets: "Targets | Tensor", labels: Sequence[str]
    ) -> dict[str, Any]:
        """Every metric of one split as plain numbers.

        Returns:
            `n`, every one of `chirplet.config.schema.METRICS`, `per_class` (label to f1, precision, recall, support)
            and `confusion_matrix`; others may be added.

        Raises:
            ValueError: there are no texts, or shapes do not agree.
        """

    def right(self, logits: Logits, targets: Targets) -> Mask:
        """Which texts are labeled rightly, shape (n,): what accuracy counts and paired tests compare."""
        return _equal(self.decode(logits), targets)

    def agree(self, logits: Logits, other: Logits) -> Mask:
        """Which texts get the same labels from both, shape (n,)."""
        return _equal(self.decode(logits), self.decode(other))

    @abstractmethod
    def losses(self, logits: Logits, targets: Targets) -> NDArray[np.float64]:
        """The loss of each text, in nats, shape (n,)."""

    @abstractmethod
    def confusion(self, logits: Logits, targets: Targets, labels: int) -> NDArray[np.int64]:
        """Numbers of texts by true label (rows) and predicted label (columns), shape (labels, labels)."""

    @abstractmethod
    def distances(self, logits: "Tensor", reference: "Tensor") -> dict[str, float]:
        """How far logits are from those of the fp32 model, both of shape (n, labels).

        Returns:
            `divergence`: the mean KL(fp32 ‖ this) in nats. `expected_drop`: the share of texts that will be labeled
            rightly no more if the probabilities of fp32 are true.
        """

    # Tables.

    def columns(self, labels: Sequence[str], prefix: str) -> dict[str, type[str] | type[float]]:
        """Names and types of the columns that predictions add to a table.

        They are `label`, then for each label `probability_` and its name in snake case; names that would fall together
        so keep their spelling. `prefix` comes first in all of them.
        """
        snake = [re.sub(r"\W+", "_", label.casefold()).strip("_") for label in labels]
        names = snake if len(set(snake)) == len(labels) and all(snake) else labels
        return {f"{prefix}label": str} | {f"{prefix}probability_{name}": float for name in names}

    def cells(self, logits: Logits, labels: Sequence[str]) -> list[list[Any]]:
        """The values of each column of `columns`, n of each."""
        values: list[list[Any]] = np.round(self.probabilities(logits), DECIMALS).T.tolist()
        return [self.names(self.decode(logits), labels), *values]


def open_task(recorded: Mapping[str, Any]) -> Task:
    """The task that a record names, with its settings.

    The name may come from a stranger: no module is imported but one of this package.

    Raises:
        ValueError: there is no such task, or its settings are not valid.
    """
    name = recorded.get("name")
    if not isinstance(name, str) or re.fullmatch("[a-z][a-z0-9_]*", name) is None:
        raise ValueError(f"name: got {name!r}, should be a task's")
    try:
        kind = getattr(import_module(f"{__package__}.{name}"), name.title().replace("_", ""))
    except (ImportError, AttributeError):
        raise ValueError(f"name: got {name!r}, which this version of chirplet does not know") from None
    task: Task = kind.model_validate({key: value for key, value in recorded.items() if key != "name"})
    return task


def _equal(first: Targets, second: Targets) -> Mask:
    same: Mask = np.equal(first, second)
    return np.asarray(same.all(axis=tuple(range(1, same.ndim))))
