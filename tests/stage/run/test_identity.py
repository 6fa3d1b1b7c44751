"""Two runs are the same where nothing that makes a result differs, and what differs is named."""

from dataclasses import replace

import pytest

from chirplet.cli.binding import parse
from chirplet.cli.experiment import run_of
from chirplet.stage.run.identity import Identity, differences, identity_in, identity_of
from records import make_record

THIS = Identity(
    config={"seed": "1", "stage.learning_rate": "2"},
    data="d" * 64,
    parents={"artifact": ["a" * 64]},
    models={"model": {"weights": "w" * 64, "folder": "f" * 64}},
    unlabeled_files={"more.csv": "u" * 64},
    code="c",
    libraries=["torch-2.13"],
    machine="m",
)


def lines(other: Identity, run: Identity = THIS) -> list[str]:
    return [line for _, line in differences(run, other)]


def test_the_same_run_differs_in_nothing():
    assert lines(replace(THIS)) == []
    assert replace(THIS).key == THIS.key


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"config": {"seed": "3", "stage.learning_rate": "2"}}, "another value of seed"),
        ({"config": {"seed": "1"}}, "another value of stage.learning_rate"),
        ({"data": "e" * 64}, f"data: gives other texts or splits (fingerprint {'d' * 12}, should be {'e' * 12})"),
        ({"parents": {"artifact": ["b" * 64]}}, f"artifact: has the id {'a' * 12}, should be {'b' * 12}"),
        (
            {"models": {"model": {"weights": "x" * 64}}},
            f"model.name_or_path: holds other weights (SHA-256 {'w' * 12}, should be {'x' * 12})",
        ),
        (
            {"models": {"model": {"weights": "w" * 64, "folder": "x" * 64}}},
            f"model.name_or_path: holds other files (SHA-256 {'f' * 12}, should be {'x' * 12})",
        ),
        (
            {"unlabeled_files": {"more.csv": "v" * 64}},
            "unlabeled_files: got more.csv, should be more.csv with the same content",
        ),
        ({"unlabeled_files": {}}, "unlabeled_files: got more.csv, should be null with the same content"),
    ],
)
def test_what_differs_is_named(changed, line):
    other = replace(THIS, **changed)
    assert lines(other) == [line]
    assert other.key != THIS.key


def test_a_file_by_another_name_and_an_id_cut_short_are_the_same():
    assert lines(replace(THIS, unlabeled_files={"renamed.csv": "u" * 64}, parents={"artifact": ["a" * 12]})) == []


@pytest.mark.parametrize("changed", [{"code": "other"}, {"libraries": []}, {"machine": "other"}])
def test_code_libraries_and_machine_are_in_the_key_alone(changed):
    other = replace(THIS, **changed)
    assert lines(other) == [] and other.key != THIS.key


def test_many_keys_are_counted():
    config = {f"stage.key_{number}": "0" for number in range(9)}
    assert lines(replace(THIS, config=THIS.config | config)) == [
        "another value of stage.key_0, stage.key_1, stage.key_2, stage.key_3, stage.key_4 and 4 more"
    ]


@pytest.mark.parametrize(
    ("override", "same"),
    [
        ("logger=none", True),
        ("verify=false", True),
        ("cache_dir=/elsewhere", True),
        ("resume=null", True),
        ("push_private=false", True),
        ("seed=7", False),
        ("stage.learning_rate=3e-5", False),
        ("model.max_length=64", False),
        ("trainer.max_epochs=9", False),
        ("deterministic=true", False),
    ],
)
def test_keys_that_change_no_result_are_no_part_of_it(compose_config, tmp_path, monkeypatch, override, same):
    from chirplet.data.preparation import prepare

    monkeypatch.setattr(prepare, "prepare", lambda *_: make_record().data)

    def identity(*overrides):
        cfg = compose_config("stage=finetune", *overrides)
        from chirplet.cli.experiment import _with_environment, for_record

        return identity_of(run_of(parse(cfg), tmp_path, for_record(cfg), (), _with_environment(cfg)).inputs)

    assert (identity(override).key == identity().key) is same


def test_a_record_names_the_parent_that_its_stage_started_from():
    quantized = make_record(stage="quantize", parent="p" * 64)
    assert identity_in(quantized).parents == {"artifact": ["p" * 64]}
    student = make_record(stage="distill", training={"teachers": {"t" * 12: {"stage": "finetune"}}})
    assert identity_in(student).parents == {"teacher": ["t" * 12]}
