"""Training feels the roundings that the files will have."""

import numpy as np
import pytest
import torch
from torch import nn

from chirplet.module.quantization_aware import QuantizationAware, RoundedWeight, round_input
from chirplet.quantizer.graph.onnx_int8_nodes import REDUCED_STEPS, STEPS, rounded
from chirplet.quantizer.onnx_int8 import OnnxInt8


def test_weights_by_hand():
    weight = torch.tensor([[1.0, -0.3], [0.0, 0.0], [8.0, 2.9]], requires_grad=True)
    actual = RoundedWeight(4)(weight)
    torch.testing.assert_close(actual, torch.tensor([[1.0, -0.25], [0.0, 0.0], [8.0, 2.0]]))
    actual.sum().backward()
    torch.testing.assert_close(weight.grad, torch.ones(3, 2))


@pytest.mark.parametrize("steps", [STEPS, REDUCED_STEPS])
def test_weights_are_those_of_the_file(steps):
    weight = np.random.default_rng(0).normal(size=(7, 33)).astype(np.float32)
    whole, scale = rounded(weight.T, steps, axis=0)
    actual = RoundedWeight(steps)(torch.from_numpy(weight)).numpy()
    np.testing.assert_allclose(actual, (whole * scale).T, atol=1e-6)


@pytest.mark.parametrize(("reduce_range", "steps"), [(True, 63), (False, 127)])
def test_the_quantizer_sets_the_number_of_steps(reduce_range, steps):
    assert OnnxInt8(reduce_range=reduce_range).steps() == steps


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([-1.0, 0.004, 0.016, 1.55], [-1.0, 0.0, 0.02, 1.55]),
        ([0.511, 2.55], [0.51, 2.55]),  # zero is among the steps though no value is
        ([0.0, 0.0], [0.0, 0.0]),
    ],
)
def test_inputs_by_hand(states, expected):
    (actual,) = round_input(nn.Identity(), (torch.tensor([states]),))
    torch.testing.assert_close(actual, torch.tensor([expected]), atol=1e-6, rtol=0)


def test_rounding_is_removed_and_leaves_the_weights():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))
    states, before = torch.randn(5, 8), {name: value.clone() for name, value in model.state_dict().items()}
    exact = model(states)
    coarse, fine = ((_under(model, steps, states) - exact).abs().max() for steps in (3, 127))
    assert coarse > 5 * fine > 0
    assert {name: value.tolist() for name, value in model.state_dict().items()} == {
        name: value.tolist() for name, value in before.items()
    }
    torch.testing.assert_close(model(states), exact)


def _under(model, steps, states):
    with QuantizationAware(model, steps):
        return model(states).detach()
