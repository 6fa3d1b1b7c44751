"""Imitate the teacher's hidden states: TinyBERT (Jiao et al. 2020, arXiv 1909.10351)."""

from typing import TYPE_CHECKING, ClassVar, Literal

from chirplet.distiller.base import Distiller
from chirplet.task.base import Task

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from chirplet.distiller.loss.losses import Imitation


class Hidden(Distiller):
    """The states compared: those of the embeddings and every layer (`uniform`), or of the last layer alone (`top`).

    With `uniform` student layer m of M imitates teacher layer m · L / M of L, as in TinyBERT.
    """

    looks_inside: ClassVar[bool] = True

    layers: Literal["uniform", "top"]

    def imitation(self, task: Task, student: "PretrainedConfig", teacher: "PretrainedConfig | None") -> "Imitation":
        from chirplet.distiller.loss.losses import StateImitation
        from chirplet.model.family import family_of

        assert teacher is not None
        student_sizes, teacher_sizes = (family_of(config).sizes(config) for config in (student, teacher))
        depth, teacher_depth = student_sizes.layers, teacher_sizes.layers
        pairs = [(depth, teacher_depth)]
        if self.layers == "uniform":
            pairs = [(layer, round(layer * teacher_depth / depth)) for layer in range(depth + 1)]
        return StateImitation(pairs, student_sizes.hidden_size, teacher_sizes.hidden_size)
