"""Trace a classifier into a graph of ONNX's operations, with any number of texts and tokens.

`torch.onnx.export` alone is used. The exporters of transformers 5.24 make the same graphs for the families tried, whose
fusions ONNX Runtime does itself, and transformers 5.3 has none.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from chirplet.model.family import family_of
from chirplet.model.loading.quiet import quiet
from chirplet.quantizer.graph.arithmetic import OPSET
from chirplet.quantizer.graph.relative_positions import reached_positions_alone
from chirplet.quantizer.trial.small_model import sample
from chirplet.system.error import QuantizationError, kind_and_message

if TYPE_CHECKING:
    import onnx_ir
    from transformers import PreTrainedModel

PREFIX = "model."
"""What the names of the model's modules begin with in the graph."""
TOKENS = 13
"""Tokens of the traced texts: more than one, and no size that a model has elsewhere."""


def exported(model: "PreTrainedModel") -> "onnx_ir.Model":
    """The graph of `model`, from `input_ids` and `attention_mask` (batch, tokens) int64 to one output, the logits.

    Nodes have the names of their modules in `metadata_props`, and constants are folded.

    Raises:
        QuantizationError: the model cannot be traced for any number of texts and tokens.
    """
    ids, mask = sample(model, 2, TOKENS)
    anything = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    try:
        with _attention(model), reached_positions_alone(model), _silent():
            program = torch.onnx.export(
                _Logits(model).eval(),
                (ids, mask),
                input_names=["input_ids", "attention_mask"],
                dynamic_shapes=(anything, anything),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # the exporter raises many classes for what it cannot trace
        raise QuantizationError(
            f"quantizer: a model of type {model.config.model_type!r} cannot be exported as a graph "
            f"({_reason(error)}); quantizer=torch_int8 and quantizer=bf16 need none"
        ) from error
    assert program is not None
    return program.model


class _Logits(torch.nn.Module):
    """The model with its logits as the only output."""

    def __init__(self, model: "PreTrainedModel") -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits


def _reason(error: Exception) -> str:
    """The first line of what made the exporter fail: its own message is a manual in colours."""
    cause = error
    while isinstance(cause.__cause__, Exception):
        cause = cause.__cause__
    return kind_and_message(cause).splitlines()[0][:200]


@contextlib.contextmanager
def _attention(model: "PreTrainedModel") -> Iterator[None]:
    """The family's fastest attention within the block: an artifact's own may be one that cannot be traced."""
    before = model.config._attn_implementation
    model.set_attn_implementation(family_of(model).attentions[0])
    try:
        yield
    finally:
        model.set_attn_implementation(before)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Suppress the exporter's progress, its log and its warnings."""
    logs = [logging.getLogger(name) for name in ("onnxscript", "onnx_ir", "torch.onnx")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.ERROR)
    try:
        with quiet(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
