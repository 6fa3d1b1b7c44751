"""Distillation losses between the outputs of student and teacher for one batch."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from torch import Tensor, nn
from torch.nn.functional import kl_div, mse_loss

from chirplet.data.batching.batches import Batch
from chirplet.data.batching.distributed import MeanOver
from chirplet.model.family import family_of
from chirplet.system.error import ModelError
from chirplet.task.base import Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Relation = Literal["qk", "qq", "kk", "vv"]
"""The pair of a layer's queries, keys and values that a relation is between."""

Projections = dict[str, Tensor]
"""A layer's `q`, `k` and `v`, each of shape (batch, tokens, width)."""

MASKED = -1e4
"""The score of padding, whose probability is then 0. Minus infinity would make 0 · ∞ in the divergence."""


@dataclass(frozen=True)
class Signals:
    """A model's outputs for a batch.

    `logits` has shape (batch, classes). `states` are the outputs of the embeddings and each layer, lowest first, of
    shape (batch, tokens, width). `projections` are those of each layer. The last two are empty if not needed.
    """

    logits: Tensor
    states: tuple[Tensor, ...] = ()
    projections: tuple[Projections, ...] = ()


def observe(model: "PreTrainedModel", batch: Batch) -> Signals:
    """Run the model with `transformers`, and record the outputs of its layers; all in float32."""
    family = family_of(model)
    layers = family.layers(model)
    outputs: dict[nn.Module, dict[str, list[Tensor]]] = {layer: {} for layer in layers}
    hooks = [
        module.register_forward_hook(
            lambda _, __, output, into=into, name=name: into.setdefault(name[0], []).append(output.float())
        )
        for layer, into in outputs.items()
        for name, module in family.matrices(layer).items()
        if name in ("query", "key", "value")
    ]
    try:
        output = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], output_hidden_states=True)
    finally:
        for hook in hooks:
            hook.remove()
    states = tuple(state.float() for state in output.hidden_states)
    if len(states) != len(layers) + 1:
        raise ModelError(
            f"distiller: got one that compares layers, but a model of type {model.config.model_type!r} gives the "
            f"states of {len(states) - 1} layers, should give those of {len(layers)}; use logits alone"
        )
    # A layer that is computed several times has several outputs.
    projections = tuple({name: calls.pop(0) for name, calls in outputs[layer].items()} for layer in layers)
    return Signals(output.logits.float(), states, projections)


class Imitation(nn.Module, ABC):
    """A loss between student and teacher for a batch. Its parameters, if any, are trained with the student."""

    mean_over: ClassVar[MeanOver] = "tokens"
    """The unit that the loss averages over."""

    @abstractmethod
    def forward(self, student: Signals, teacher: Signals, mask: Tensor) -> Tensor:
        """The loss, a scalar. `mask`, of shape (batch, tokens), is 1 for tokens and 0 for padding."""


class LogitImitation(Imitation):
    """`Task.soft_loss`, or without a temperature the mean squared difference (Ba & Caruana 2014, arXiv 1312.6184)."""

    mean_over = "texts"

    def __init__(self, task: Task, temperature: float | None) -> None:
        super().__init__()
        self.task = task
        self.temperature = temperature

    def forward(self, student: Signals, teacher: Signals, mask: Tensor) -> Tensor:
        if self.temperature is None:
            return mse_loss(student.logits, teacher.logits)
        return self.task.soft_loss(student.logits, teacher.logits, self.temperature)


class StateImitation(Imitation):
    """Mean squared difference of hidden states, over real tokens (TinyBERT, Jiao et al. 2020, arXiv 1909.10351, Eq. 8).

    Args:
        pairs: indices of a student's state and the teacher's state that it imitates; 0 is the embeddings'.
        student_width: width of the student's states.
        teacher_width: width of the teacher's states. If it differs, a linear map of the student's states is trained
            with the student.
    """

    def __init__(self, pairs: Sequence[tuple[int, int]], student_width: int, teacher_width: int) -> None:
        super().__init__()
        self.pairs = tuple(pairs)
        same = student_width == teacher_width
        self.project: nn.Module = nn.Identity() if same else nn.Linear(student_width, teacher_width, bias=False)

    def forward(self, student: Signals, teacher: Signals, mask: Tensor) -> Tensor:
        losses = [_mean(_squares(self.project(student.states[s]), teacher.states[t]), mask) for s, t in self.pairs]
        return sum(losses[1:], losses[0]) / len(losses)


class RelationImitation(Imitation):
    """Divergence of self-attention relations (MiniLM, Wang et al. 2020, arXiv 2002.10957, sections 3.1 and 3.2).

    A relation is softmax(A Bᵀ / √d) between two of queries, keys and values: `qk` is attention, `vv` MiniLM's value
    relation, and `qq`, `kk`, `vv` those of MiniLMv2 (arXiv 2012.15828). Both models' widths are split into `heads`
    parts, whatever their number of attention heads, so that their widths may differ.
    """

    def __init__(self, relations: Sequence[Relation], student_layer: int, teacher_layer: int, heads: int) -> None:
        super().__init__()
        self.relations = tuple(relations)
        self.student_layer = student_layer
        self.teacher_layer = teacher_layer
        self.heads = heads

    def forward(self, student: Signals, teacher: Signals, mask: Tensor) -> Tensor:
        real = mask.bool()
        total = student.logits.new_zeros(())
        for relation in self.relations:
            student_relation = _relation(student.projections[self.student_layer], relation, self.heads, real)
            teacher_relation = _relation(teacher.projections[self.teacher_layer], relation, self.heads, real)
            divergence = kl_div(student_relation, teacher_relation, reduction="none", log_target=True)
            total = total + _mean(divergence.sum(dim=-1).mean(dim=-1), mask)
        return total


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean over real tokens of values of shape (batch, tokens)."""
    # Not by selecting them: their number would have to be read from the device.
    return (values * mask).sum() / mask.sum()


def _squares(states: Tensor, others: Tensor) -> Tensor:
    """The mean squared difference of each token's states, shape (batch, tokens)."""
    return mse_loss(states, others, reduction="none").mean(dim=-1)


def _relation(projections: Projections, relation: Relation, heads: int, real: Tensor) -> Tensor:
    """Log-softmax of the scores between each token and the real ones of its text, (batch, tokens, heads, tokens)."""
    left, right = (projections[name].unflatten(-1, (heads, -1)).transpose(1, 2) for name in relation)
    scores = left @ right.transpose(-1, -2) / left.shape[-1] ** 0.5  # (batch, heads, tokens, tokens)
    log_weights = scores.masked_fill(~real[:, None, None], MASKED).log_softmax(dim=-1)
    by_token: Tensor = log_weights.transpose(1, 2)
    return by_token
