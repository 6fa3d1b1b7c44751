"""What tests of the stages share."""

import pytest

from chirplet.evaluation import cost


@pytest.fixture(autouse=True)
def one_round(monkeypatch):
    """Parent and child take one turn to be timed in: each is a process that imports torch anew."""
    monkeypatch.setattr(cost, "ROUNDS", 1)
