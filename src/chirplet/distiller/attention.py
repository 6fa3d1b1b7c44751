"""Imitate the teacher's attention relations: MiniLM (Wang et al. 2020, arXiv 2002.10957; v2: 2012.15828)."""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from chirplet.config.schema import Count, Index
from chirplet.distiller.base import Distiller
from chirplet.model.family.base import MatrixName, Sizes
from chirplet.system.error import ConfigError
from chirplet.task.base import Task

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from chirplet.distiller.loss.losses import Imitation


PROJECTIONS: dict[str, MatrixName] = {"q": "query", "k": "key", "v": "value"}
"""The matrices by their letters in `relations`."""


class Attention(Distiller):
    """The `relations` of the student's last layer that imitate those of the teacher's `teacher_layer`.

    `heads` is the number of parts that queries, keys and values are split into.
    """

    looks_inside: ClassVar[bool] = True

    relations: Annotated[list[Literal["qk", "qq", "kk", "vv"]], Field(min_length=1)]
    teacher_layer: Index | None
    heads: Count | None

    def check(self, student: "PretrainedConfig", teacher: "PretrainedConfig") -> None:
        from chirplet.model.family import family_of

        needed = {PROJECTIONS[letter] for relation in self.relations for letter in relation}
        for whose, config in (("teacher", teacher), ("student", student)):
            if not needed <= family_of(config).matrix_names.keys():
                raise ConfigError(
                    f"distiller: got attention, but chirplet knows no separate {', '.join(sorted(needed))} matrices in "
                    f"a model of type {config.model_type!r}, the {whose}'s; should be hidden or logits"
                )
        student_sizes, teacher_sizes = (family_of(config).sizes(config) for config in (student, teacher))
        depth, layer = teacher_sizes.layers, self._layer(teacher_sizes)
        if layer >= depth:
            raise ConfigError(
                f"distiller.attention.teacher_layer: got {layer}, should be less than {depth}, the teacher's layers"
            )
        heads = self._heads(teacher_sizes)
        widths = {"teacher's": teacher_sizes.hidden_size, "student's": student_sizes.hidden_size}
        for whose, width in widths.items():
            if width % heads:
                raise ConfigError(
                    f"distiller.attention.heads: got {heads}, should divide the {whose} hidden size {width}"
                )

    def imitation(self, task: Task, student: "PretrainedConfig", teacher: "PretrainedConfig | None") -> "Imitation":
        from chirplet.distiller.loss.losses import RelationImitation
        from chirplet.model.family import family_of

        assert teacher is not None
        sizes = family_of(teacher).sizes(teacher)
        last = family_of(student).sizes(student).layers - 1
        return RelationImitation(self.relations, last, self._layer(sizes), self._heads(sizes))

    def _layer(self, teacher: Sizes) -> int:
        return teacher.layers - 1 if self.teacher_layer is None else self.teacher_layer

    def _heads(self, teacher: Sizes) -> int:
        return teacher.heads if self.heads is None else self.heads
