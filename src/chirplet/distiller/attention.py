"""Imitate the teacher's attention relations: MiniLM (Wang et al. 2020, arXiv 2002.10957; v2: 2012.15828)."""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from chirplet.config.schema import Count, Index
from chirplet.distiller.base import Distiller
from chirplet.system.error import ConfigError
from chirplet.task.base import Task

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from chirplet.distiller.loss.losses import Imitation


class Attention(Distiller):
    """The `relations` of the student's last layer that imitate those of the teacher's `teacher_layer`.

    `heads` is the number of parts that queries, keys and values are split into.
    """

    looks_inside: ClassVar[bool] = True

    relations: Annotated[list[Literal["qk", "qq", "kk", "vv"]], Field(min_length=1)]
    teacher_layer: Index | None
    heads: Count | None

    def imitation(self, task: Task, student: "PretrainedConfig", teacher: "PretrainedConfig | None") -> "Imitation":
        from chirplet.distiller.loss.losses import RelationImitation
        from chirplet.model.family import family_of

        assert teacher is not None
        student_sizes, teacher_sizes = (family_of(config).sizes(config) for config in (student, teacher))
        depth = teacher_sizes.layers
        layer = depth - 1 if self.teacher_layer is None else self.teacher_layer
        if layer >= depth:
            raise ConfigError(
                f"distiller.attention.teacher_layer: got {layer}, should be less than {depth}, the teacher's layers"
            )
        heads = teacher_sizes.heads if self.heads is None else self.heads
        widths = {"teacher's": teacher_sizes.hidden_size, "student's": student_sizes.hidden_size}
        for whose, width in widths.items():
            if width % heads:
                raise ConfigError(
                    f"distiller.attention.heads: got {heads}, should divide the {whose} hidden size {width}"
                )
        return RelationImitation(self.relations, student_sizes.layers - 1, layer, heads)
