"""A bare training loop whose steps are CUDA graphs: the rate that a GPU allows on the same texts.

It has a small encoder of its own, random weights, one parameter group and no validation. On a CPU the step is called
instead of captured.
"""

from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


class Layer(nn.Module):
    """A post-norm layer with eager attention."""

    def __init__(self, width: int, heads: int, neurons: int) -> None:
        super().__init__()
        self.heads = heads
        self.into, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, neurons), nn.Linear(neurons, width)
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, states: Tensor, bias: Tensor) -> Tensor:
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.into(states).chunk(3, dim=-1)
        )
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5 + bias
        mixed = (scores.softmax(-1).to(value.dtype) @ value).transpose(1, 2).flatten(2)
        states = self.first(states + self.out(mixed))
        hidden: Tensor = self.second(states + self.down(functional.gelu(self.up(states))))
        return hidden


class Classifier(nn.Module):
    """Embeddings, layers, and a head on the first token."""

    def __init__(self, words: int, positions: int, width: int, heads: int, neurons: int, layers: int, labels: int):
        super().__init__()
        self.words, self.positions = nn.Embedding(words, width), nn.Embedding(positions, width)
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(Layer(width, heads, neurons) for _ in range(layers))
        self.pooler, self.head = nn.Linear(width, width), nn.Linear(width, labels)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        states = self.norm(self.words(ids) + self.positions.weight[: ids.shape[1]])
        bias = (1 - mask[:, None, None].float()) * -1e9
        for layer in self.layers:
            states = layer(states, bias)
        logits: Tensor = self.head(self.pooler(states[:, 0]).tanh())
        return logits.float()


class Loop:
    """One graph for each padded length, all on the same weights."""

    def __init__(self, model: nn.Module, batch_size: int, device: torch.device) -> None:
        self.model = model.to(device)
        self.device = device
        self.batch_size = batch_size
        on_gpu = device.type == "cuda"
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=torch.tensor(1e-4, device=device), fused=True, capturable=on_gpu
        )
        self.pool = torch.cuda.graph_pool_handle() if on_gpu else None
        self.graphs: dict[int, tuple[tuple[Tensor, ...], Any]] = {}

    def step(self, ids: Tensor, mask: Tensor, labels: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False):
            loss = functional.cross_entropy(self.model(ids, mask), labels)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0, foreach=True)
        self.optimizer.step()

    def run(self, batch: tuple[Tensor, ...]) -> None:
        length = batch[0].shape[1]
        if length not in self.graphs:
            self.graphs[length] = self._captured(tuple(part.to(self.device) for part in batch))
        inputs, replay = self.graphs[length]
        for into, part in zip(inputs, batch, strict=True):
            into.copy_(part.pin_memory() if self.device.type == "cuda" else part, non_blocking=True)
        replay()

    def _captured(self, inputs: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], Any]:
        if self.device.type != "cuda":
            return inputs, lambda: self.step(*inputs)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):
                self.step(*inputs)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool):
            self.step(*inputs)
        return inputs, graph.replay


def batches(tokens: Any, labels: np.ndarray, sampler: Any, padded_length: Any) -> Any:
    """The sampler's whole batches, epoch after epoch without end, padded to a few lengths."""
    lengths, batch_size = tokens.lengths, sampler.batch_size
    while True:
        for positions in sampler:
            if len(positions) < batch_size:  # the last ones of an epoch
                continue
            width = padded_length(int(lengths[positions].max()))
            ids, mask = (np.zeros((batch_size, width), np.int64) for _ in range(2))
            for row, position in enumerate(positions):
                ids[row, : lengths[position]], mask[row, : lengths[position]] = tokens[position], 1
            yield tuple(torch.from_numpy(part) for part in (ids, mask, labels[positions]))
        sampler.epoch += 1


def train(
    model: nn.Module, source: Any, batch_size: int, steps: int, device: torch.device, tick: Callable[[int], None]
) -> None:
    """Make `steps` steps; `tick` is called after each with its number of texts."""
    loop = Loop(model, batch_size, device)
    for batch in islice(source, steps):
        loop.run(batch)
        tick(batch_size)
