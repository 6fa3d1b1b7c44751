"""A training step that CUDA graphs carry out: forward, backward, clipping, optimizer and masks."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from chirplet.data.batching.batches import Batch
from chirplet.module.step.optimizer import clip_gradients
from chirplet.system.cuda_graphs import Captured

BATCH_LOSS = "batch_loss"
"""The name of the loss that is minimized, among a batch's losses."""


class Trained(Protocol):
    """What a captured step trains."""

    def losses(self, batch: Batch) -> dict[str, Tensor]: ...

    def hold(self) -> None: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...


class CapturedStep:
    """Computes a batch's losses and trains on them; reads nothing from the device.

    Learning rates are sent to the device before each step. The optimizer reads them there, so that a graph holds for
    all steps.

    Args:
        module: computes the losses; its `hold` is called after the optimizer's step.
        optimizer: fused AdamW.
        scaler: that of fp16, or None.
        clip: largest norm of all gradients together, or None.
        accumulated: batches whose gradients one step of the optimizer uses.
        device: where the module is.
    """

    def __init__(
        self,
        module: Trained,
        optimizer: Optimizer,
        scaler: GradScaler | None,
        clip: float | None,
        accumulated: int,
        device: torch.device,
    ) -> None:
        self.module = module
        self.optimizer = optimizer
        self.scaler = scaler
        self.clip = clip
        self.accumulated = accumulated
        self.device = device
        self.rates = torch.zeros(len(optimizer.param_groups), device=device)
        self._captured = Captured(self._compute, device, self._unchanged)
        self._prepared = accumulated == 1

    def __call__(self, batch: Batch, first: bool, last: bool) -> dict[str, Tensor]:
        """Train on a batch, and return its losses, which the next batch overwrites.

        `first` and `last` are whether it is the first and the last batch of an optimizer step.
        """
        if not self._prepared:
            self._make_gradients(batch)
        if last:
            rates = torch.tensor([group["lr"] for group in self.optimizer.param_groups])
            self.rates.copy_(rates.pin_memory() if self.device.type == "cuda" else rates, non_blocking=True)
        return self._captured(batch, first, last)

    @property
    def lengths(self) -> list[int]:
        """The padded lengths so far, in tokens."""
        return sorted({shapes["input_ids"][1] for shapes in self._captured.shapes})

    def _compute(self, batch: Batch, first: bool, last: bool) -> dict[str, Tensor]:
        if first:
            # Gradients of a single batch are new ones in each graph, which saves setting them to zero.
            self.optimizer.zero_grad(set_to_none=self.accumulated == 1)
        losses = self.module.losses(batch)
        self._backward(losses[BATCH_LOSS])
        if last:
            self._update()
        return {name: loss.detach() for name, loss in losses.items()}

    def _backward(self, loss: Tensor) -> None:
        mean = loss / self.accumulated
        with torch.autocast(self.device.type, enabled=False):
            (mean if self.scaler is None else self.scaler.scale(mean)).backward()

    def _update(self) -> None:
        groups = self.optimizer.param_groups
        kept = [(group["lr"], group["capturable"]) for group in groups]
        recording = self.device.type == "cuda" and torch.cuda.is_current_stream_capturing()
        for group, rate in zip(groups, self.rates, strict=True):
            group |= {"lr": rate, "capturable": recording}
        with torch.autocast(self.device.type, enabled=False):
            if self.scaler is not None:
                self.scaler.unscale_(self.optimizer)
            if self.clip is not None:
                clip_gradients(self.module.parameters(), self.clip)
            if self.scaler is None:
                self.optimizer.step()
            else:
                self.scaler.step(self.optimizer)
                self.scaler.update()
        # Schedules and checkpoints have numbers.
        for group, (number, capturable) in zip(groups, kept, strict=True):
            group |= {"lr": number, "capturable": capturable}
        self.module.hold()

    def _make_gradients(self, batch: Batch) -> None:
        """Make the gradients that all graphs add to. Parameters that the loss does not use keep none."""
        batch = {name: tensor.to(self.device) for name, tensor in batch.items()}
        with self._unchanged():
            self.optimizer.zero_grad(set_to_none=True)
            self._backward(self.module.losses(batch)[BATCH_LOSS])
        self._prepared = True

    @contextmanager
    def _unchanged(self) -> Iterator[None]:
        """Restore weights, gradients, random numbers and the states of optimizer and scaler at the end."""
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        summed = [] if self.accumulated == 1 else [p.grad for p in parameters if p.grad is not None]
        saved = [(tensor, tensor.detach().clone()) for tensor in (*parameters, *summed, *self._states())]
        fresh = not self.optimizer.state
        scaling = None if self.scaler is None else self.scaler.state_dict()
        random = _random_state(self.device)
        yield
        _set_random_state(self.device, random)
        with torch.no_grad():
            for tensor, before in saved:
                tensor.copy_(before)
            for tensor in self._states() if fresh else ():
                tensor.zero_()
        if self.scaler is not None and scaling is not None:
            self.scaler.load_state_dict(scaling)

    def _states(self) -> list[Tensor]:
        states: Any = self.optimizer.state.values()
        return [value for state in states for value in state.values() if isinstance(value, Tensor)]


def _random_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_random_state(device: torch.device, state: Tensor) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)
