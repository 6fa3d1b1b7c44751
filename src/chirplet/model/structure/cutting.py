"""A smaller encoder cut from a larger one: some of its layers, narrower feed-forward parts, all else as it was."""

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from chirplet.config.schema import Count, Index, Settings
from chirplet.system.error import ConfigError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from chirplet.model.family.base import Matrices


class Cut(Settings):
    """What is kept. `layers` names them, or says which `num_layers` of them: the lowest, or those evenly spread.

    `num_layers: null` is half of the layers, `intermediate_size: null` the teacher's. With `pretrained: false` a model
    of that shape starts from random weights.
    """

    layers: Literal["lower", "even"] | Annotated[list[Index], Field(min_length=1)]
    num_layers: Count | None
    intermediate_size: Count | None
    pretrained: bool

    @model_validator(mode="after")
    def _layers_agree(self) -> Self:
        if isinstance(self.layers, list):
            if self.layers != sorted(set(self.layers)):
                raise ValueError(f"layers: got {self.layers}, should be in ascending order, each once")
            if self.num_layers is not None:
                raise ValueError(f"num_layers: got {self.num_layers}, should be null where layers are named")
        return self

    @property
    def is_default(self) -> bool:
        """Whether it is the lower half of the layers, as where nothing is said."""
        return self == Cut(layers="lower", num_layers=None, intermediate_size=None, pretrained=True)

    def kept(self, depth: int) -> list[int]:
        """The layers kept of so many, from 0, ascending.

        Raises:
            ConfigError: there are not so many.
        """
        if isinstance(self.layers, list):
            if self.layers[-1] >= depth:
                raise ConfigError(
                    f"stage.cut.layers: got {self.layers}, should be less than {depth}, the teacher's layers"
                )
            return list(self.layers)
        wanted = max(depth // 2, 1) if self.num_layers is None else self.num_layers
        if wanted > depth:
            raise ConfigError(f"stage.cut.num_layers: got {wanted}, should be at most {depth}, the teacher's layers")
        if self.layers == "lower":
            return list(range(wanted))
        # First and last are among them where there are two or more; of one, the first.
        return [round(place * (depth - 1) / max(wanted - 1, 1)) for place in range(wanted)]


def cut_down(model: "PreTrainedModel", cut: Cut, seed: int) -> "PreTrainedModel":
    """A smaller copy of the classifier in evaluation mode; `seed` draws its weights where none are copied.

    Lower layers carry over best (arXiv 2305.15032). Of a feed-forward part those units stay whose weights, in and out,
    have the largest product of norms.

    Raises:
        ConfigError: the model has fewer layers or narrower feed-forward parts than are to be kept.
    """
    import torch

    from chirplet.model.family import family_of
    from chirplet.model.structure.narrowing import narrowed

    family = family_of(model)
    layers, sizes = family.layers(model), family.sizes(model.config)
    width = sizes.intermediate_size
    if cut.intermediate_size is not None and cut.intermediate_size > width:
        raise ConfigError(
            f"stage.cut.intermediate_size: got {cut.intermediate_size}, should be at most {width}, the teacher's"
        )
    kept = cut.kept(len(layers))
    units = [_strongest(family.matrices(layers[layer]), cut.intermediate_size or width) for layer in kept]
    student = narrowed(model, kept, [torch.arange(sizes.heads)] * len(kept), units)
    if not cut.pretrained:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            student = type(model)(student.config).eval()
    return student


def _strongest(matrices: "Matrices", width: int) -> "Tensor":
    """The `width` units of a layer's feed-forward part that stay, in their order."""
    up, down = matrices.intermediate.weight.detach(), matrices.output.weight.detach()
    units: Tensor = (up.norm(dim=1) * down.norm(dim=0)).topk(width).indices.sort().values
    return units
