"""AdamW that updates only the rows of an embedding that a batch uses."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim import AdamW


class RowwiseAdamW(AdamW):
    """AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101) with lazy updates for sparse gradients.

    For a sparse gradient, as of `torch.nn.Embedding(sparse=True)`, only the rows of the gradient are updated and
    decayed, with their moments, as in `torch.optim.SparseAdam`; bias correction counts all steps. A batch of texts uses
    about one row in fifty of a vocabulary, whose table is half of a small model. Other parameters are updated by
    `torch.optim.AdamW`.
    """

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step. `closure`, if given, computes the loss and the gradients first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        rowwise = [
            (group, parameter, parameter.grad)
            for group in self.param_groups
            for parameter in group["params"]
            if parameter.grad is not None and parameter.grad.is_sparse
        ]
        for _, parameter, _ in rowwise:
            parameter.grad = None
        super().step()
        for group, parameter, gradient in rowwise:
            self._step_rows(group, parameter, gradient.coalesce())
            parameter.grad = gradient
        return loss

    @torch.no_grad()
    def _step_rows(self, group: dict[str, Any], parameter: nn.Parameter, gradient: Tensor) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        steps, (beta1, beta2) = float(state["step"]), group["betas"]
        (rows,), values = gradient.indices(), gradient.values()
        mean = state["exp_avg"][rows].lerp_(values, 1 - beta1)
        square = state["exp_avg_sq"][rows].mul_(beta2).addcmul_(values, values, value=1 - beta2)
        state["exp_avg"][rows], state["exp_avg_sq"][rows] = mean, square
        scale = square.div_(1 - beta2**steps).sqrt_().add_(group["eps"])
        moved = parameter[rows].mul_(1 - group["lr"] * group["weight_decay"])
        parameter[rows] = moved.addcdiv_(mean, scale, value=-group["lr"] / (1 - beta1**steps))


@torch.no_grad()
def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float) -> Tensor:
    """Scale all gradients, sparse ones too, so that their total norm is at most `max_norm`.

    Returns:
        The total norm before, a scalar.
    """
    values = []
    for parameter in parameters:
        if parameter.grad is not None and parameter.grad.is_sparse:
            parameter.grad = parameter.grad.coalesce()
            values.append(parameter.grad.values())
        elif parameter.grad is not None:
            values.append(parameter.grad)
    norm = get_total_norm(values)
    factor = max_norm / (norm + 1e-6)
    # On a CPU reading the norm is free, and saves a pass over all gradients. On a GPU it would synchronize.
    if norm.device.type != "cpu" or factor < 1:
        torch._foreach_mul_(values, factor.clamp(max=1.0))
    return norm
