"""Fixtures of the stages' tests."""

import pytest

from chirplet.evaluation import cost


@pytest.fixture(autouse=True)
def one_round(monkeypatch):
    """Time parent and child in one round, since each round starts processes that import torch."""
    monkeypatch.setattr(cost, "ROUNDS", 1)


@pytest.fixture(scope="module", autouse=True)
def probes_are_short(request):
    """Those of `stage/output` are tested there."""
    if "output" not in request.path.parts:
        request.getfixturevalue("short_probes")
