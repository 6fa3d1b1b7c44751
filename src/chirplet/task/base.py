"""The interface of a task, which alone interprets targets and logits.

A task defines the targets, the loss, how logits are decoded, and when a prediction is right. Every other module passes
targets and logits to the task.

Arrays of n texts with k labels have these shapes: logits (n, k), one per label; targets (n,) or (n, k), depending on
the task; results of `decode` have the shape of the targets.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from chirplet.config.schema import Settings
from chirplet.metric.names import label_names

if TYPE_CHECKING:
    from torch import Tensor

    from chirplet.data.base import Examples

UNLABELLED = -100
"""The label of a text without one."""

DECIMALS = 8
"""Decimals of probabilities in a table. A row sums to 1 within seven decimals."""

Targets = NDArray[Any]
"""Targets or decoded logits, in the task's dtype."""
Logits = NDArray[np.float32] | NDArray[np.float64]
Mask = NDArray[np.bool_]
SMALLEST = 1e-12
"""The least divisor of a mean, so that the mean of nothing is 0."""
Combination = Literal["mean", "max"]
"""How the logits of a text's windows are combined."""


class Task(Settings, ABC):
    """Settings of one task. The file has the name of the class: `single_label.py` has `SingleLabel`."""

    problem_type: ClassVar[str]
    """The task's name in `config.json`, as `transformers` defines it."""

    @property
    def name(self) -> str:
        """The name in `task=NAME`."""
        return type(self).__module__.rpartition(".")[2]

    def recorded(self) -> dict[str, Any]:
        """Name and settings for a record, from which `open_task` makes the task again."""
        return {"name": self.name} | self.model_dump()

    # Targets.

    @abstractmethod
    def targets(self, texts: "Examples") -> Targets:
        """The targets of the texts. The label `UNLABELLED` becomes a target for which `labeled` is false."""

    @abstractmethod
    def no_targets(self, labels: int) -> Targets:
        """An empty array of targets with their dtype and shape, (0,) or (0, labels)."""

    @abstractmethod
    def labeled(self, targets: "Tensor") -> "Tensor":
        """Whether each text has a label; boolean, shape (n,)."""

    @abstractmethod
    def fault(self, targets: Targets, labels: int) -> str | None:
        """What targets read from a file should be, for an error; None if they are valid."""

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
        """The loss in nats over the texts that have a label.

        Args:
            logits: shape (n, labels).
            targets: targets of the same texts.
            class_weights: weight of each label, shape (labels,), or None. A mean divides by the sum of weights.
            label_smoothing: mass spread over other labels, in [0, 1).
            reduction: reduction over texts.
        """

    @abstractmethod
    def loss_weight(self, targets: "Tensor", class_weights: "Tensor | None") -> "Tensor":
        """The divisor of the mean in `loss`, a scalar."""

    @abstractmethod
    def balanced_weights(self, targets: Targets, labels: int) -> "Tensor":
        """Class weights that give every label the same total weight, shape (labels,)."""

    @abstractmethod
    def soft_loss(self, logits: "Tensor", teacher_logits: "Tensor", temperature: float) -> "Tensor":
        """The distillation loss at a temperature, in nats, a mean over texts; both logits have shape (n, labels)."""

    def batch_loss(
        self, logits: "Tensor", batch: "dict[str, Tensor]", class_weights: "Tensor | None", label_smoothing: float
    ) -> "Tensor":
        """The mean loss of a batch, or this process's contribution to it; 0 if no text has a label.

        DDP averages gradients over processes. Each process multiplies the mean over its part by (processes · weight of
        the part / weight of the batch), so that the average is the gradient of the mean over the whole batch.
        """
        labels = batch["labels"]
        total = self.loss(logits, labels, class_weights, label_smoothing, reduction="sum")
        mean = total / self.loss_weight(labels, class_weights).clamp(min=SMALLEST)
        return mean * self._batch_factor(batch, class_weights)

    def _batch_factor(self, batch: "dict[str, Tensor]", class_weights: "Tensor | None") -> "Tensor | float":
        if "texts_of" not in batch:
            return 1.0
        part = batch["labels"][: int(batch["texts_of"][0])]
        weight, whole = (self.loss_weight(targets, class_weights) for targets in (part, batch["whole_labels"]))
        return batch["processes"] * weight / whole.clamp(min=SMALLEST)

    # Decoding.

    @abstractmethod
    def decode(self, logits: Logits) -> Targets:
        """The predicted labels, in the form of targets."""

    @abstractmethod
    def probabilities(self, logits: Logits) -> NDArray[np.float64]:
        """The probability of each label, shape (n, labels)."""

    @abstractmethod
    def activate(self, logits: "Tensor") -> "Tensor":
        """`probabilities` as a tensor, in the precision and on the device of the logits."""

    def combine(self, logits: Logits, first: NDArray[np.int64], how: Combination) -> Logits:
        """The logits of n texts from those of their windows, shape (windows, labels); text i starts at `first[i]`.

        `mean` averages the logits of each label, `max` takes the highest: a label that one window shows clearly.
        """
        starts = first[:-1]
        if how == "max":
            highest: Logits = np.maximum.reduceat(logits, starts)
            return highest
        averages: Logits = np.add.reduceat(logits, starts) / np.diff(first)[:, None].astype(logits.dtype)
        return averages

    @abstractmethod
    def names(self, targets: Targets, labels: Sequence[str]) -> list[str]:
        """Label names of targets or decoded logits."""

    @abstractmethod
    def confidence(self, logits: Logits) -> NDArray[np.float64]:
        """The probability of the decoded labels, shape (n,)."""

    # Evaluation.

    @abstractmethod
    def evaluate(
        self, logits: "NDArray[np.float32] | Tensor", targets: "Targets | Tensor", labels: Sequence[str]
    ) -> dict[str, Any]:
        """Every metric of one split as plain numbers.

        Returns:
            `n`, every metric of `chirplet.metric.names.METRICS`, `per_class` (label to f1, precision, recall, support)
            and `confusion_matrix`. A task may add others.

        Raises:
            ValueError: there are no texts, or shapes differ.
        """

    def right(self, logits: Logits, targets: Targets) -> Mask:
        """Whether each text is labeled correctly, shape (n,), for accuracy and paired tests."""
        return _equal(self.decode(logits), targets)

    def agree(self, logits: Logits, other: Logits) -> Mask:
        """Whether both logits give the same labels, for each text, shape (n,)."""
        return _equal(self.decode(logits), self.decode(other))

    @abstractmethod
    def losses(self, logits: Logits, targets: Targets) -> NDArray[np.float64]:
        """The loss of each text, in nats, shape (n,)."""

    @abstractmethod
    def confusion(self, logits: Logits, targets: Targets, labels: int) -> NDArray[np.int64]:
        """Numbers of texts by true label (rows) and predicted label (columns), shape (labels, labels)."""

    @abstractmethod
    def distances(self, logits: "Tensor", reference: "Tensor") -> dict[str, float]:
        """Distances of logits from `reference`, those of the fp32 model, both of shape (n, labels).

        Returns:
            `divergence`: the mean KL(fp32 ‖ this) in nats. `expected_drop`: the expected drop of accuracy if the fp32
            model's probabilities are true.
        """

    # Tables.

    def columns(self, labels: Sequence[str], prefix: str) -> dict[str, type[str] | type[float]]:
        """Names and types of the columns that predictions add to a table.

        The columns are `label`, and for each label `probability_` with its name by `label_names`. `prefix` is put
        before every name.
        """
        return {f"{prefix}label": str} | {f"{prefix}probability_{name}": float for name in label_names(labels)}

    def cells(self, logits: Logits, labels: Sequence[str]) -> list[list[Any]]:
        """The n values of each column of `columns`."""
        values: list[list[Any]] = np.round(self.probabilities(logits), DECIMALS).T.tolist()
        return [self.names(self.decode(logits), labels), *values]


def open_task(recorded: Mapping[str, Any]) -> Task:
    """The task with the name and settings of a record.

    Records may be untrusted, so only modules of this package are imported.

    Raises:
        ValueError: there is no such task, or its settings are not valid.
    """
    name = recorded.get("name")
    if not isinstance(name, str) or re.fullmatch("[a-z][a-z0-9_]*", name) is None:
        raise ValueError(f"name: got {name!r}, should be the name of a task")
    try:
        kind = getattr(import_module(f"{__package__}.{name}"), name.title().replace("_", ""))
    except (ImportError, AttributeError):
        raise ValueError(f"name: got {name!r}, should be a task that this version of chirplet has") from None
    task: Task = kind.model_validate({key: value for key, value in recorded.items() if key != "name"})
    return task


def _equal(first: Targets, second: Targets) -> Mask:
    same: Mask = np.equal(first, second)
    return np.asarray(same.all(axis=tuple(range(1, same.ndim))))
