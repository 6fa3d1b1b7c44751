"""Any other encoder that transformers can open as a sequence classifier, if it has one list of layers."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from chirplet.model.family.base import ConfigNames, Family, Part
from chirplet.system.error import Key, ModelError

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig, PreTrainedModel

DROPOUT = re.compile(r"drop(?!path)")
UNLIMITED = 8192
"""The longest input of models without a table of positions: that of `model.max_length`."""
BY_LAYER = ("layer_types", "attention_window")
"""Keys of `config.json` with a list of one value per layer."""
OF_HEAD = re.compile(r"classif|cls|summary|pooler|head_")


class Generic(Family):
    """Only what transformers' common names say is known of these models: `num_hidden_layers`, `hidden_size` and so on.

    Args:
        config: of a model of the architecture, which is built without weights to find its layers.

    Raises:
        ModelError: the architecture is no sequence classifier of `input_ids` and `attention_mask` with one list of
            layers.
    """

    names: ClassVar[ConfigNames] = ConfigNames()
    prunes: ClassVar[frozenset[Part]] = frozenset({"layers"})
    unpruned: ClassVar[Mapping[Part, str]] = dict.fromkeys(
        ("heads", "neurons"), "chirplet does not know the matrices of its layers"
    )

    def __init__(self, config: "PretrainedConfig") -> None:
        model = _without_weights(config)
        self.layers_name = _layers_name(model)
        self.counts_from_padding = _counts_from_padding(model)
        names = (self.names.hidden_size, self.names.heads, self.names.intermediate_size)
        missing = [name for name in names if not isinstance(getattr(config, name, None), int)]
        if missing:
            kind = config.model_type
            raise ModelError(f"config.json: got model_type {kind!r}, whose models have no {' and no '.join(missing)}")
        self.attentions = ("sdpa", "eager") if model._supports_sdpa else ("eager",)

    def layer_changes(self, config: "PretrainedConfig", layers: Sequence[int]) -> dict[str, Any]:
        changes = super().layer_changes(config, layers)
        for name in BY_LAYER:
            values = getattr(config, name, None)
            if not isinstance(values, list):
                continue
            if layers[-1] >= len(values):
                raise ModelError(
                    Key("layers"), f": got {len(layers)}, should be at most {len(values)}, for which it has {name}"
                )
            changes[name] = [values[layer] for layer in layers]
        return changes

    def dropout_changes(self, config: "PretrainedConfig", encoder: float, classifier: float) -> dict[str, float]:
        rates = {name: rate for name, rate in config.to_dict().items() if DROPOUT.search(name) and _is_rate(rate)}
        return {name: classifier if OF_HEAD.search(name) else encoder for name in rates if "layerdrop" not in name}

    def position_offset(self, config: "PretrainedConfig") -> int:
        return int(config.pad_token_id or 0) + 1 if self.counts_from_padding else 0

    def longest_input(self, config: "PretrainedConfig") -> int:
        positions = config.to_dict().get(config.attribute_map.get(self.names.positions, self.names.positions))
        return int(positions) - self.position_offset(config) if positions else UNLIMITED

    def depth_outside_layers(self, part: str, layers: int) -> int | None:
        if "pooler" in part:
            return 0
        return layers + 1 if "embed" in part else 1


def _is_rate(value: Any) -> bool:
    return value is None or (isinstance(value, float | int) and not isinstance(value, bool))


def _without_weights(config: "PretrainedConfig") -> "PreTrainedModel":
    import inspect

    import torch
    from transformers import AutoModelForSequenceClassification

    kind = config.model_type
    if type(config) not in AutoModelForSequenceClassification._model_mapping:
        raise ModelError(f"config.json: got model_type {kind!r}, of which transformers has no sequence classifier")
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForSequenceClassification.from_config(config, trust_remote_code=False)
    takes = inspect.signature(model.forward).parameters
    if not {"input_ids", "attention_mask"} <= takes.keys():
        raise ModelError(f"config.json: got model_type {kind!r}, whose models take no input_ids and attention_mask")
    return model


def _layers_name(model: "PreTrainedModel") -> str:
    kind, expected = model.config.model_type, getattr(model.config, "num_hidden_layers", None)
    named: Iterable[tuple[str, Any]] = model.base_model.named_modules()
    lists = {name: module for name, module in named if _is_stack(module)}
    outermost = [name for name in lists if not any(name.startswith(f"{other}.") for other in lists)]
    if len(outermost) != 1 or len(lists[outermost[0]]) != expected:
        listed = ", ".join(f"{name} of {len(lists[name])}" for name in outermost) or "none"
        raise ModelError(
            f"config.json: got model_type {kind!r}, should have one list of num_hidden_layers={expected} layers; "
            f"its lists: {listed}"
        )
    return outermost[0]


def _counts_from_padding(model: "PreTrainedModel") -> bool:
    """Whether positions begin after the padding id, as RoBERTa's do: their table then has a row of padding."""
    tables = [module for name, module in model.named_modules() if "position" in name]
    return any(getattr(table, "padding_idx", None) is not None for table in tables)


def _is_stack(module: "nn.Module") -> bool:
    """Whether a module is a list of modules of the same class."""
    from torch import nn

    return isinstance(module, nn.ModuleList) and len({type(one) for one in module}) == 1
