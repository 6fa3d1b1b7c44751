"""Fixtures of the stages' tests."""

import pytest

from chirplet.evaluation import cost


@pytest.fixture(autouse=True)
def one_round(monkeypatch):
    """Time parent and child in one round, since each round starts processes that import torch."""
    monkeypatch.setattr(cost, "ROUNDS", 1)
