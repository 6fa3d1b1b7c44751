"""What surrounds a function whose CUDA graph is recorded, without a GPU that records it."""

from contextlib import contextmanager

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from chirplet.system import cuda_graphs
from chirplet.system.cuda_graphs import Captured


@pytest.fixture
def seen(monkeypatch):
    """Whether inference mode is on where the graph begins, which makes tensors for random numbers."""
    modes = []

    @contextmanager
    def graph(*_, **__):
        modes.append(torch.is_inference_mode_enabled())
        yield

    monkeypatch.setattr(torch.cuda, "graph", graph)
    return modes


class Fills(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.called = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.called.append(func)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("inference", [False, True])
def test_a_recording_begins_outside_of_inference_mode_and_computes_as_before(seen, inference):
    with torch.inference_mode(inference):
        with cuda_graphs._recording(None, None, None):
            made = torch.ones(2)
        assert torch.is_inference_mode_enabled() == inference
    assert seen == [False]
    assert made.is_inference() == inference


@pytest.mark.parametrize("number", [0.5, 3, True])
def test_a_recording_fills_numbers_on_the_device(seen, number):
    with Fills() as fills, cuda_graphs._recording(None, None, None):
        made = torch.tensor(number, device="meta")
    assert fills.called == [torch.ops.aten.full.default]
    assert (made.shape, made.dtype) == ((), torch.tensor(number).dtype)


def test_each_shape_and_flag_is_recorded_once():
    calls = []

    def function(batch, flag):
        calls.append(flag)
        return {"sum": batch["x"].sum()}

    captured = Captured(function, torch.device("cpu"))
    assert captured({"x": torch.ones(2)}, True)["sum"] == 2
    assert calls == [True] * (cuda_graphs.WARM_UP + 1)
    assert captured({"x": torch.full((2,), 3.0)}, True)["sum"] == 6
    assert len(calls) == cuda_graphs.WARM_UP + 2
    captured({"x": torch.ones(2)}, False)
    captured({"x": torch.ones(3)}, True)
    assert captured.shapes == [{"x": (2,)}, {"x": (2,)}, {"x": (3,)}]
