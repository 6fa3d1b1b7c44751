"""The search excludes the fewest layers that bring the drop of accuracy within the tolerance."""

import numpy as np
import pytest

from chirplet.evaluation.evaluator import Quality
from chirplet.quantizer.mixed_precision.search import fewest_excluded, sensitivities
from chirplet.system.error import QuantizationError

FP32 = Quality(loss=0.5, accuracy=0.9)
LAYERS = list("abcdefghij")


def test_rises_by_hand():
    cost = {"a": 0.01, "b": 0.3, "c": 0.0}

    def evaluate_splits(excluded):
        (alone,) = cost.keys() - excluded
        return Quality(0.5 - cost[alone], 0.9, cost[alone])

    actual = sensitivities(cost, FP32, evaluate_splits)
    assert list(actual) == ["b", "a", "c"]
    assert {name: output["divergence"] for name, output in actual.items()} == cost
    assert actual["b"]["loss_rise"] == pytest.approx(-0.3)


@pytest.mark.parametrize("needed", range(11))
def test_the_fewest_layers_are_found(needed):
    def evaluate_splits(excluded):
        assert list(excluded) == LAYERS[: len(excluded)], "the most sensitive come first"
        return Quality(0.5, 0.9 if len(excluded) >= needed else 0.8)

    excluded, tried = fewest_excluded(LAYERS, FP32, 0.003, evaluate_splits)
    assert excluded == LAYERS[:needed]
    assert len(tried) <= 9, "about twice the logarithm"
    assert {"excluded_layers": needed, "accuracy": 0.9, "expected_drop": None, "loss": 0.5} in tried


@pytest.mark.parametrize(("accuracy", "expected_drop"), [(0.8, 0.0), (0.9, 0.1), (0.95, 0.1)])
def test_a_drop_counts_whether_it_is_counted_or_expected(accuracy, expected_drop):
    def evaluate_splits(excluded):
        return Quality(0.5, 0.9) if len(excluded) >= 3 else Quality(0.5, accuracy, 0.0, expected_drop)

    excluded, tried = fewest_excluded(LAYERS, FP32, 0.003, evaluate_splits)
    assert excluded == LAYERS[:3]
    assert tried[0] == {"excluded_layers": 0, "accuracy": accuracy, "expected_drop": expected_drop, "loss": 0.5}


def test_a_drop_of_just_the_tolerance_is_within():
    assert fewest_excluded(LAYERS, FP32, 0.125, lambda _: Quality(0.5, 0.9 - 0.125))[0] == []
    single = [float(np.float32(accuracy)) for accuracy in (0.503, 0.5)]
    assert single[0] - single[1] > 0.003, "as Lightning logs them"
    assert fewest_excluded(LAYERS, Quality(0.5, single[0]), 0.003, lambda _: Quality(0.5, single[1]))[0] == []


def test_an_unreachable_tolerance_raises():
    for layers, message in ((LAYERS, "with all 10 layers excluded"), ([], "no layers to exclude")):
        with pytest.raises(QuantizationError, match=rf"stage.tolerance: got 0.01, .* drops by 0.2000 .*{message}"):
            fewest_excluded(layers, FP32, 0.01, lambda _: Quality(1.0, 0.7))
