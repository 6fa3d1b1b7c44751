"""Importance of attention heads and feed-forward neurons: the estimated change of the loss without them.

First-order Taylor expansion |a · ∂L/∂a|, summed over a text's tokens before the absolute value is taken (Molchanov et
al. 2019, arXiv 1906.10771; for heads, Michel et al. 2019, arXiv 1905.10650, equation 2).
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from chirplet.data.batching.padding import by_length, padded
from chirplet.model.family import family_of
from chirplet.model.family.base import MatrixName, Part
from chirplet.pruner.masking.calibration import CalibrationData
from chirplet.system.progress import counted

BATCH_SIZE = 32
READ_BY: Mapping[Part, MatrixName] = {"heads": "attention_output", "neurons": "output"}
"""The matrix whose inputs are the outputs of these parts."""


def importances(model: PreTrainedModel, calibration: CalibrationData, parts: Sequence[Part]) -> dict[Part, Tensor]:
    """Importances of each layer's `heads`, shape (layers, heads), or `neurons`, shape (layers, intermediate size).

    They are sums over the sample. The model is left in evaluation mode, without gradients.
    """
    family = family_of(model)
    layers, sizes = [family.matrices(layer) for layer in family.layers(model)], family.sizes(model.config)
    widths = {"heads": sizes.heads, "neurons": sizes.intermediate_size}
    totals = {part: torch.zeros(len(layers), widths[part]) for part in parts}
    of_layers = [(part, index) for part in parts for index in range(len(layers))]
    modules = [layers[index][READ_BY[part]] for part, index in of_layers]
    inputs_of: dict[nn.Module, Tensor] = {}
    handles = [dense.register_forward_pre_hook(_keep(inputs_of)) for dense in modules]
    batches = by_length(calibration.tokens.lengths, BATCH_SIZE)
    model.eval()
    try:
        for batch in counted(batches, "calibrating", len(calibration.tokens), len):
            input_ids, mask = map(torch.from_numpy, padded(calibration.tokens, batch, calibration.pad_id))
            loss = calibration.task.loss(
                model(input_ids=input_ids, attention_mask=mask).logits,
                torch.from_numpy(calibration.targets[batch]),
                reduction="sum",  # so that a text's gradient does not depend on the batch size
            )
            gradients = torch.autograd.grad(loss, [inputs_of[dense] for dense in modules])
            for (part, index), dense, gradient in zip(of_layers, modules, gradients, strict=True):
                changes = (inputs_of[dense].detach() * gradient).sum(dim=1)  # (batch, width), padding's gradient is 0
                each = changes.unflatten(1, (widths[part], -1)).sum(dim=2)  # (batch, heads or neurons)
                totals[part][index] += each.abs().sum(dim=0)
    finally:
        for handle in handles:
            handle.remove()
    return totals


def _keep(inputs_of: dict[nn.Module, Tensor]) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        (inputs_of[module],) = inputs

    return hook
