"""Cut a smaller encoder from a larger one: fewer layers, narrower feed-forward parts."""

import copy
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from chirplet.config.schema import Count, Index, Settings
from chirplet.system.error import ConfigError, ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PretrainedConfig, PreTrainedModel

    from chirplet.model.family import Family


class Cut(Settings):
    """What the student keeps of the model that it is cut from.

    `layers` lists the kept layers from 0, or says how to choose `num_layers` of them: the lowest, or evenly spaced.
    `num_layers: null` is half of the layers, `intermediate_size: null` all neurons. With `pretrained: false` the
    student has random weights.
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
        """Whether these are the default settings, the lower half of the layers."""
        return self == Cut(layers="lower", num_layers=None, intermediate_size=None, pretrained=True)

    def kept(self, depth: int) -> list[int]:
        """Indices of the layers kept of `depth` layers, ascending.

        Raises:
            ConfigError: more layers are kept than there are.
        """
        if isinstance(self.layers, list):
            if self.layers[-1] >= depth:
                raise ConfigError(
                    f"stage.cut.layers: got {self.layers}, should be less than {depth}, the layers that the model has"
                )
            return list(self.layers)
        count = max(depth // 2, 1) if self.num_layers is None else self.num_layers
        if count > depth:
            raise ConfigError(
                f"stage.cut.num_layers: got {count}, should be at most {depth}, the layers that the model has"
            )
        if self.layers == "lower":
            return list(range(count))
        # The first layer, and with two or more also the last.
        return [round(index * (depth - 1) / max(count - 1, 1)) for index in range(count)]


def cut_config(config: "PretrainedConfig", cut: Cut) -> "PretrainedConfig":
    """The configuration of the student that is cut from a model with `config`.

    Raises:
        ConfigError: the model has fewer layers or neurons than `cut` keeps, or its family cannot lose them.
    """
    from chirplet.model.family import family_of

    family = family_of(config)
    sizes, wanted = family.sizes(config), cut.intermediate_size
    if wanted is not None and wanted > sizes.intermediate_size:
        raise ConfigError(
            f"stage.cut.intermediate_size: got {wanted}, should be at most {sizes.intermediate_size}, which it has"
        )
    obstacle = family.obstacle("neurons", config)
    if wanted not in (None, sizes.intermediate_size) and obstacle is not None:
        raise ConfigError(
            f"stage.cut.intermediate_size: got {wanted}, but neurons of a model of type {config.model_type!r} cannot "
            f"be removed, since {obstacle}; should be null, stage.cut.num_layers makes it smaller"
        )
    try:
        changes = family.layer_changes(config, cut.kept(sizes.layers))
    except ModelError as error:
        raise ConfigError(*error.renamed({"layers": "stage.cut.layers"}).parts) from error
    smaller = copy.deepcopy(config)
    smaller.update(changes | family.size_changes(intermediate_size=wanted))
    return smaller


def cut_down(model: "PreTrainedModel", cut: Cut, seed: int) -> "PreTrainedModel":
    """A smaller copy of the classifier, in evaluation mode. `seed` draws the weights if `cut.pretrained` is false.

    Lower layers transfer best (arXiv 2305.15032). A feed-forward part keeps the neurons with the largest product of the
    norms of their input and output weights.

    Raises:
        ConfigError: as `cut_config`.
    """
    import torch

    from chirplet.model.family import family_of
    from chirplet.model.structure.narrowing import narrowed

    config = cut_config(model.config, cut)
    if not cut.pretrained:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            student: PreTrainedModel = type(model)(config).eval()
        student.set_attn_implementation(model.config._attn_implementation)
        return student
    family = family_of(model)
    layers, sizes = family.layers(model), family.sizes(model.config)
    kept, neurons = cut.kept(sizes.layers), None
    if cut.intermediate_size not in (None, sizes.intermediate_size):
        width = sizes.intermediate_size
        neurons = [_strongest(family, layers[layer], width, cut.intermediate_size) for layer in kept]
    return narrowed(model, kept, None, neurons)


def _strongest(family: "Family", layer: "nn.Module", width: int, count: int) -> "Tensor":
    """Indices of the `count` of `width` neurons to keep of a layer, ascending."""
    import torch

    matrices = family.matrices(layer)
    up, down = matrices["intermediate"].weight.detach(), matrices["output"].weight.detach()
    rows = family.neuron_rows(torch.arange(width, device=up.device), width)
    inputs = up.norm(dim=1)[rows].norm(dim=0)  # a neuron and its gate together
    neurons: Tensor = (inputs * down.norm(dim=0)).topk(count).indices.sort().values
    return neurons
