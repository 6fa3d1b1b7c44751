import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from chirplet.data.preparation.split import carve, fold

LABEL = np.array([0] * 50 + [1] * 30 + [2] * 20, np.int64)


def test_carve_takes_each_label_by_its_share() -> None:
    rest, part = carve(LABEL, 0.1, seed=1)
    assert np.bincount(LABEL[part]).tolist() == [5, 3, 2]
    assert sorted([*rest, *part]) == list(range(100))
    assert part.tolist() == sorted(part.tolist())


def test_carve_gives_the_remainder_to_the_largest_fractions() -> None:
    # Shares 3.75, 3.5, 2.75 of 10: 3, 3, 2 rounded down; the two left go to 0.75 and 0.75.
    label = np.array([0] * 15 + [1] * 14 + [2] * 11, np.int64)
    _, part = carve(label, 0.25, seed=0)
    assert np.bincount(label[part]).tolist() == [4, 3, 3]


def test_carve_of_nothing_is_empty() -> None:
    rest, part = carve(LABEL, 0.0, seed=1)
    assert (len(rest), len(part)) == (100, 0)


def test_a_label_too_rare_for_its_share_is_in_both_parts_and_the_rest_keeps_what_it_needs() -> None:
    # The shares 0.9 and 0.3 become 1.
    label = np.array([0] * 62 + [1] * 9 + [2] * 3, np.int64)
    rest, part = carve(label, 0.1, seed=1)
    assert np.bincount(label[part]).tolist() == [6, 1, 1]
    assert sorted([*rest, *part]) == list(range(74))
    # 60% of 3 is 2, but the rest should have 2 itself; of the other 71 the part has 43, shares 37.5 and 5.5.
    rest, part = carve(label, 0.6, seed=1, keep=2)
    assert np.bincount(label[part]).tolist() == [38, 5, 1]
    assert [list(each) for each in carve(label, 0.6, seed=1, keep=2)] == [list(rest), list(part)]


def test_many_rare_labels_need_no_common_one() -> None:
    rest, part = carve(np.repeat(np.arange(150), 3), 0.1, seed=1, keep=2)
    assert (len(rest), len(part)) == (300, 150)


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(5, 40), min_size=2, max_size=3),
    folds=st.integers(2, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_folds_partition_and_stratify(counts: list[int], folds: int, seed: int) -> None:
    label = np.repeat(np.arange(len(counts)), counts)
    parts = [fold(label, folds, index, seed) for index in range(folds)]
    assert sorted(np.concatenate([part for _, part in parts]).tolist()) == list(range(len(label)))
    sizes = np.array([np.bincount(label[part], minlength=len(counts)) for _, part in parts])
    assert (np.ptp(sizes, axis=0) <= 1).all()
    assert np.ptp(sizes.sum(axis=1)) <= 1
    for rest, part in parts:
        assert set(rest.tolist()).isdisjoint(part.tolist())


@settings(max_examples=40, deadline=None)
@given(counts=st.lists(st.integers(10, 60), min_size=2, max_size=3), fraction=st.sampled_from([0.1, 0.2, 0.5, 0.9]))
def test_carve_has_every_label_in_both_parts(counts: list[int], fraction: float) -> None:
    label = np.repeat(np.arange(len(counts)), counts)
    rest, part = carve(label, fraction, seed=3)
    assert len(part) == round(len(label) * fraction)
    assert set(label[rest]) == set(label[part]) == set(range(len(counts)))
