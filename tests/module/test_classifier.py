"""The pieces of training that can be worked out by hand."""

import pytest
import torch

from chirplet.module.step.training_module import SCHEDULES


def rates(name: str, warmup: int, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = SCHEDULES[name](optimizer, warmup, steps)
    actual = []
    for _ in range(steps):
        actual.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return actual


def test_linear_rises_over_the_warm_up_and_falls_to_zero():
    assert rates("linear", 2, 6) == pytest.approx([0.0, 0.5, 1.0, 0.75, 0.5, 0.25])


def test_cosine_is_half_way_in_the_middle():
    assert rates("cosine", 0, 4) == pytest.approx([1.0, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5])


def test_constant_stays():
    assert rates("constant", 2, 5) == pytest.approx([0.0, 0.5, 1.0, 1.0, 1.0])


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_reaches_the_peak_after_the_warm_up(name):
    assert rates(name, 3, 10)[3] == pytest.approx(1.0)
