"""The same label written in several ways, and labels without training rows."""

import pytest

from chirplet.data.base import RawExample, Split
from chirplet.data.preparation.label_names import alike, check_spelling, check_trained, mapping_hint
from chirplet.system.error import DataError


def splits_of(**labels: str) -> dict[Split, list[RawExample]]:
    return {name: [RawExample(f"{name}.csv:{n}", "", label) for n, label in enumerate(given.split("|"), start=1)]
            for name, given in labels.items()}  # type: ignore[misc]  # fmt: skip


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (
            {"train": "0|1", "test": "0.0|1.0"},
            "test.csv row 1: .*'0.0' and '0', '1.0' and '1'; set 'data.label_map={0.0: 0, 1.0: 1}'",
        ),
        (
            {"train": "pos|pos|Pos|neg"},
            "train.csv row 3: .*: 'Pos' and 'pos'; set 'data.label_map={Pos: pos}', or list all",
        ),
        (
            {"train": "very bad|good", "val": "very_bad"},
            "'very_bad' and 'very bad'; set 'data.label_map={very_bad: very bad}'",
        ),
        ({"train": "1,0|2", "test": "1"}, "'1' and '1,0'; set data.label_map, or"),
        ({"train": "not hate|NotHate"}, "'not hate' and 'NotHate'"),
    ],
)
def test_labels_that_look_alike_are_refused_with_their_mapping(labels, told):
    with pytest.raises(DataError, match=told.replace("{", r"\{")):
        check_spelling(splits_of(**labels))


def test_other_labels_pass():
    check_spelling(splits_of(train="0|1|10|-1|pos|positive|a|b|:)|:-)"))


def test_labels_without_training_rows_are_named():
    check_trained(splits_of(train="a|b", val="a", test="b"))
    message = (
        r"^test.csv row 2: test has the label '2' \(2 rows\), which no row of train has; train has '0', '4'; map it to "
        r"one of them with data.label_map, or leave out its rows with 'data.label_map=\{2: null\}'$"
    )
    with pytest.raises(DataError, match=message):
        check_trained(splits_of(train="4|0", test="0|2|2"))


def test_hints_need_no_escapes():
    assert alike("POS ", ["neg", "pos"]) is None and alike("1.0", ["0", "1"]) == "1"
    assert mapping_hint({"a b": "c", "d": None}) == "'data.label_map={a b: c, d: null}'"
    assert mapping_hint({"it's": "x"}) == "data.label_map"
