"""The activations of feed-forward parts and heads as nodes, by their names in transformers."""

from collections.abc import Callable
from typing import Any

import numpy as np

from chirplet.quantizer.graph.arithmetic import Arithmetic

Activation = Callable[[Arithmetic, str], str]
"""Adds the nodes of f(states), and returns the name of their output."""


def _operation(name: str, **attributes: Any) -> Activation:
    """One operation of ONNX."""

    def added(graph: Arithmetic, states: str) -> str:
        output: str = graph.node(name, states, **attributes)
        return output

    return added


def _clipped(inner: Activation, low: float, high: float) -> Activation:
    def added(graph: Arithmetic, states: str) -> str:
        limits = (graph.constant(f"limit_{limit:g}", np.float32(limit)) for limit in (low, high))
        output: str = graph.node("Clip", inner(graph, states), *limits)
        return output

    return added


def _gated(slope: float) -> Activation:
    """x · sigmoid(slope · x)."""

    def added(graph: Arithmetic, states: str) -> str:
        steep = states if slope == 1 else graph.node("Mul", states, graph.constant("gate_slope", np.float32(slope)))
        output: str = graph.node("Mul", states, graph.node("Sigmoid", steep))
        return output

    return added


def _squared_relu(graph: Arithmetic, states: str) -> str:
    positive = graph.node("Relu", states)
    output: str = graph.node("Mul", positive, positive)
    return output


ACTIVATIONS: dict[str, Activation] = {
    "gelu": lambda graph, states: graph.gelu(states),
    "gelu_10": _clipped(lambda graph, states: graph.gelu(states), -10.0, 10.0),
    "gelu_accurate": lambda graph, states: graph.gelu_tanh(states),
    "gelu_fast": lambda graph, states: graph.gelu_tanh(states),
    "gelu_new": lambda graph, states: graph.gelu_tanh(states),
    "gelu_python": lambda graph, states: graph.gelu(states),
    "gelu_python_tanh": lambda graph, states: graph.gelu_tanh(states),
    "gelu_pytorch_tanh": lambda graph, states: graph.gelu_tanh(states),
    "hardswish": _operation("HardSwish"),
    "leaky_relu": _operation("LeakyRelu", alpha=0.01),
    "linear": _operation("Identity"),
    "mish": _operation("Mish"),
    "quick_gelu": _gated(1.702),
    "relu": _operation("Relu"),
    "relu2": _squared_relu,
    "relu6": _clipped(_operation("Relu"), 0.0, 6.0),
    "sigmoid": _operation("Sigmoid"),
    "silu": _gated(1.0),
    "swish": _gated(1.0),
    "tanh": _operation("Tanh"),
}
"""All of transformers but `laplace`, `prelu`, `sqrtsoftplus` and `xielu`, which no known encoder has."""
