"""Wanda: prune weights by |weight| times the norm of the input (Sun et al. 2023, arXiv 2306.11695).

It needs no gradient. As in the paper, weights are compared within an output's row, so that every row is equally sparse.
"""

from typing import TYPE_CHECKING, Literal

from chirplet.data.batching.padding import by_length, padded
from chirplet.pruner.base import Masks, ScoredPruner
from chirplet.pruner.masking.calibration import CalibrationData
from chirplet.system.progress import counted

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.utils.hooks import RemovableHandle
    from transformers import PreTrainedModel

BATCH_SIZE = 32


class Wanda(ScoredPruner):
    """Scores a weight w of input j by |w| · ‖x_j‖₂ over the tokens of the calibration texts; for linear layers."""

    scope: Literal["body", "linear"]

    def masks(self, model: "PreTrainedModel", calibration: CalibrationData, sparsity: float) -> Masks:
        from chirplet.pruner.masking.masks import lowest_of_rows, prunable, sparsity_of

        weights = {name: weight.detach() for name, weight in prunable(model, self.scope).items()}
        # If the parent's rows are not equally sparse, each row loses the same share of its non-zero weights.
        share = max(1 - (1 - sparsity) / (1 - sparsity_of(weights)), 0.0)
        norms = input_norms(model, calibration, [name.removesuffix(".weight") for name in weights])
        return {
            name: lowest_of_rows(weight.abs() * norms[name.removesuffix(".weight")], weight != 0, share)
            for name, weight in weights.items()
        }


def input_norms(model: "PreTrainedModel", calibration: CalibrationData, layers: list[str]) -> "dict[str, Tensor]":
    """‖x_j‖₂ of each input j over all tokens of the calibration texts, by the layer's name; shape (inputs,)."""
    import torch

    squares: dict[str, Tensor] = {}
    real = torch.empty(0)
    training = model.training

    def listen(name: str) -> "RemovableHandle":
        def hook(module: "nn.Module", inputs: "tuple[Tensor, ...]") -> None:
            (states,) = inputs
            # Leave out the states of padding. Pooler and head get one state per text.
            states = states[real] if states.dim() == 3 and states.shape[:2] == real.shape else states.flatten(0, -2)
            squares[name] = squares.get(name, 0) + states.float().square().sum(dim=0)

        return model.get_submodule(name).register_forward_pre_hook(hook)

    handles = [listen(name) for name in layers]
    batches = by_length(calibration.tokens.lengths, BATCH_SIZE)
    try:
        model.eval()
        with torch.inference_mode():
            for batch in counted(batches, "calibrating", len(calibration.tokens), len):
                input_ids, mask = map(torch.from_numpy, padded(calibration.tokens, batch, calibration.pad_id))
                real = mask.bool()
                model(input_ids=input_ids.to(model.device), attention_mask=mask.to(model.device))
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return {name: total.sqrt() for name, total in squares.items()}
