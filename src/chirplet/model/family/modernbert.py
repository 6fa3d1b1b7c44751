"""ModernBERT (Warner et al. 2024, arXiv 2412.13663), the architecture of Ettin and mmBERT too."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from chirplet.model.family.base import ConfigNames, Family, MatrixName, Part
from chirplet.system.error import Key, ModelError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PretrainedConfig


class ModernBert(Family):
    """Layers that normalize first, with rotary positions, one matrix for queries, keys and values, and gated neurons.

    Every third layer sees the whole text, the others a window of it.
    """

    names: ClassVar[ConfigNames] = ConfigNames(
        activation="hidden_activation", encoder_dropout=("embedding_dropout", "attention_dropout", "mlp_dropout")
    )
    layers_name = "layers"
    attentions = ("sdpa", "eager")
    prunes: ClassVar[frozenset[Part]] = frozenset({"layers", "neurons"})
    unpruned: ClassVar[Mapping[Part, str]] = {
        "heads": "fewer heads would be wider, and rotary positions depend on the width of a head"
    }
    matrix_names: ClassVar[Mapping[MatrixName, str]] = {
        "attention_output": "attn.Wo",
        "intermediate": "mlp.Wi",
        "output": "mlp.Wo",
    }

    def layer_changes(self, config: "PretrainedConfig", layers: Sequence[int]) -> dict[str, Any]:
        if layers[0] != 0:
            raise ModelError(
                Key("layers"),
                f": got {[*layers]}, should begin with 0, the only layer of a model of type {config.model_type!r} "
                "without a norm of its input",
            )
        # A model with random weights may have more layers than its `config.json`.
        every = int(getattr(config, "global_attn_every_n_layers", 3) or 3)
        kinds = [*config.layer_types]
        added = range(len(kinds), layers[-1] + 1)
        kinds += ["sliding_attention" if layer % every else "full_attention" for layer in added]
        return super().layer_changes(config, layers) | {"layer_types": [kinds[layer] for layer in layers]}

    def neuron_rows(self, neurons: "Tensor", width: int) -> "Tensor":
        return neurons + neurons.new_tensor([[0], [width]])  # the neuron, then its gate

    def depth_outside_layers(self, part: str, layers: int) -> int | None:
        return {"final_norm": 1, "embeddings": layers + 1}.get(part.split(".")[0])
