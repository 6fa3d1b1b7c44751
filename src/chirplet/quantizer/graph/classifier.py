"""The interface of a classifier's graph, whether it is written by hand or exported."""

from abc import ABC, abstractmethod
from typing import Any

import onnx

from chirplet.quantizer.graph.arithmetic import Arithmetic


class ClassifierGraph(ABC):
    """What a classifier computes, to be built in any arithmetic.

    Attributes:
        layers: names of the modules that can be quantized or excluded individually, lowest first: linear layers and
            tables of embeddings. A module that is computed several times is there once.
        replaced_in_int8: those of `layers` whose products `Int8.attend_first` replaces by others.
        other_weights: names of the modules with weights of two dimensions or more that stay in fp32, since they are
            computed in another way.
    """

    layers: tuple[str, ...]
    replaced_in_int8: frozenset[str] = frozenset()
    other_weights: tuple[str, ...] = ()

    @property
    def facts(self) -> dict[str, Any]:
        """What a record should contain of the graph: the weights in fp32, if there are any."""
        return {"weights_in_fp32": ", ".join(self.other_weights)} if self.other_weights else {}

    @abstractmethod
    def build(self, arithmetic: Arithmetic, metadata: dict[str, str]) -> onnx.ModelProto:
        """The graph in a new `arithmetic`, from `input_ids` and `attention_mask` (batch, tokens) int64 to `logits`."""
