"""Importance of attention heads and feed-forward neurons: the estimated change of the loss without them.

First-order Taylor expansion |a · ∂L/∂a|, summed over a text's tokens before the absolute value is taken (Molchanov et
al. 2019, arXiv 1906.10771; for heads, Michel et al. 2019, arXiv 1905.10650, equation 2).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from chirplet.data.batching.padding import by_length, padded
from chirplet.model.family import family_of
from chirplet.pruner.masking.calibration import CalibrationData

BATCH_SIZE = 32


def importances(model: PreTrainedModel, calibration: CalibrationData) -> tuple[Tensor, Tensor]:
    """Importances of heads, shape (layers, heads), and neurons, shape (layers, intermediate size), over the sample.

    The model is left in evaluation mode, without gradients.
    """
    family = family_of(model)
    layers, sizes = [family.matrices(layer) for layer in family.layers(model)], family.sizes(model.config)
    heads = torch.zeros(len(layers), sizes.heads)
    neurons = torch.zeros(len(layers), sizes.intermediate_size)
    modules = [layer[name] for layer in layers for name in ("attention_output", "output")]
    inputs_of: dict[nn.Module, Tensor] = {}
    handles = [dense.register_forward_pre_hook(_keep(inputs_of)) for dense in modules]
    model.eval()
    try:
        for batch in by_length(calibration.tokens.lengths, BATCH_SIZE):
            input_ids, mask = map(torch.from_numpy, padded(calibration.tokens, batch, calibration.pad_id))
            loss = calibration.task.loss(
                model(input_ids=input_ids, attention_mask=mask).logits,
                torch.from_numpy(calibration.targets[batch]),
                reduction="sum",  # so that a text's gradient does not depend on the batch size
            )
            gradients = torch.autograd.grad(loss, [inputs_of[dense] for dense in modules])
            for i, (dense, gradient) in enumerate(zip(modules, gradients, strict=True)):
                changes = (inputs_of[dense].detach() * gradient).sum(dim=1)  # (batch, width), padding's gradient is 0
                if i % 2 == 0:
                    heads[i // 2] += changes.unflatten(1, (sizes.heads, -1)).sum(dim=2).abs().sum(dim=0)
                else:
                    neurons[i // 2] += changes.abs().sum(dim=0)
    finally:
        for handle in handles:
            handle.remove()
    return heads, neurons


def _keep(inputs_of: dict[nn.Module, Tensor]) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        (inputs_of[module],) = inputs

    return hook
