"""The average follows fast at first and slowly later."""

import pytest
import torch

from chirplet.callback.lightning.weight_averaging import rising_average


def test_the_decay_rises_to_its_limit():
    update = rising_average(0.5)
    average = [torch.tensor([0.0])]
    update(average, [torch.tensor([1.0])], torch.tensor(0))
    # step 0: decay 1/10, so nine tenths of the way
    assert average[0].item() == pytest.approx(0.9)
    average = [torch.tensor([0.0])]
    update(average, [torch.tensor([1.0])], torch.tensor(100))
    assert average[0].item() == pytest.approx(0.5)
