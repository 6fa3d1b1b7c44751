"""Intervals and p-values: by hand, and against drawing texts one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from chirplet.metric.significance import accuracy_difference, mcnemar_p, paired_bootstrap

ASK = {"level": 0.95, "resamples": 10_000, "seed": 0}


def pair(first_alone: int, second_alone: int, both: int = 0, neither: int = 0) -> tuple[np.ndarray, np.ndarray]:
    first = [True] * first_alone + [False] * second_alone + [True] * both + [False] * neither
    second = [False] * first_alone + [True] * second_alone + [True] * both + [False] * neither
    return np.array(first, np.bool_), np.array(second, np.bool_)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (0, 0, 1.0),
        (1, 0, 1.0),
        (5, 5, 1.0),  # twice more than a half
        (5, 0, 2 / 32),
        (1, 8, 2 * (1 + 9) / 512),
        (10, 2, 2 * (1 + 12 + 66) / 4096),
    ],
)
def test_mcnemar_by_hand(first, second, expected):
    assert mcnemar_p(*pair(first, second, both=7, neither=3)) == pytest.approx(expected)


def test_mcnemar_of_thousands_of_tweets_is_a_number():
    assert mcnemar_p(*pair(1100, 900)) == pytest.approx(8.4e-6, rel=0.05)
    assert mcnemar_p(*pair(3000, 0)) == pytest.approx(0.0, abs=1e-300)


def test_the_interval_is_that_of_drawing_tweets_again():
    first, second = pair(30, 12, both=120, neither=38)
    random = np.random.default_rng(5)
    rows = random.integers(len(first), size=(10_000, len(first)))
    drawn = first[rows].mean(axis=1) - second[rows].mean(axis=1)
    found = paired_bootstrap(first, second, **ASK)
    np.testing.assert_allclose(found, np.quantile(drawn, [0.025, 0.975]), atol=0.006)


def test_the_interval_is_near_the_normal_one_by_hand():
    """Of 1,000 texts 60 and 40: 0.02, with the standard error sqrt((0.1 - 0.0004) / 1000) = 0.00998."""
    found = accuracy_difference(*pair(60, 40, both=800, neither=100), **ASK)
    assert found.value == pytest.approx(0.02)
    assert (found.low, found.high) == pytest.approx((0.02 - 1.96 * 0.00998, 0.02 + 1.96 * 0.00998), abs=0.0015)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 40))
def test_it_is_seeded_and_turns_its_sign_when_the_two_are_exchanged(first, second, both):
    one, other = pair(first, second, both)
    found, again = accuracy_difference(one, other, **ASK), accuracy_difference(one, other, **ASK)
    turned = accuracy_difference(other, one, **ASK)
    assert found == again
    assert turned.value == -found.value
    assert turned.mcnemar_p == found.mcnemar_p
    assert found.low - 1e-9 <= found.value <= found.high + 1e-9 or abs(found.value) > 0.9


def test_the_same_answers_differ_by_nothing():
    right = np.array([True, False, True])
    found = accuracy_difference(right, right, **ASK)
    assert (found.value, found.low, found.high, found.mcnemar_p) == (0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize(("first", "second"), [(3, 4), (0, 0)])
def test_other_tweets_cannot_be_compared(first, second):
    with pytest.raises(ValueError, match="should be the same ones"):
        accuracy_difference(np.ones(first, np.bool_), np.ones(second, np.bool_), **ASK)


def test_the_interval_covers_the_true_difference_as_often_as_it_says():
    """A thousand sets of 400 texts, of which one classifier alone is right on 12% and the other alone on 7%."""
    random = np.random.default_rng(11)
    covered = 0
    for _ in range(1000):
        kind = random.choice(3, p=[0.12, 0.07, 0.81], size=400)
        low, high = paired_bootstrap(kind == 0, kind == 1, level=0.95, resamples=2000, seed=3)
        covered += low <= 0.05 <= high
    assert 930 <= covered <= 970


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_scipys_binomial_test(first, second):
    if first + second:
        expected = binomtest(first, first + second, 0.5).pvalue
        assert mcnemar_p(*pair(first, second, both=3)) == pytest.approx(expected)


def test_the_interval_of_means_over_seeds_is_that_of_drawing_tweets_again():
    random = np.random.default_rng(8)
    first, second = (random.random((3, 300)) < share for share in (0.8, 0.7))
    shares = first.mean(axis=0), second.mean(axis=0)
    rows = random.integers(300, size=(10_000, 300))
    drawn = (shares[0] - shares[1])[rows].mean(axis=1)
    np.testing.assert_allclose(paired_bootstrap(*shares, **ASK), np.quantile(drawn, [0.025, 0.975]), atol=0.004)
