"""What a record holds of a configuration."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from chirplet.config.redaction import recorded, shown, typed

SECRET = "hunter2-from-environment"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("SOME_VALUE", SECRET)
    monkeypatch.setenv("SOME_NUMBER", "4711")


def record_of(**written):
    config = OmegaConf.create(written)
    return recorded(OmegaConf.to_container(config, resolve=True), OmegaConf.to_container(config, resolve=False))


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("${oc.env:SOME_VALUE}", "${oc.env:SOME_VALUE}"),
        ("x-${oc.env:SOME_VALUE,none}", "x-${oc.env:SOME_VALUE,none}"),
        ("${ oc.env : SOME_VALUE }", "${ oc.env : SOME_VALUE }"),
        ("${spaced}", "${oc.env:SOME_VALUE}"),
        ("${oc.decode:${oc.env:SOME_NUMBER}}", "${oc.decode:${oc.env:SOME_NUMBER}}"),
        ("${there}", "${oc.env:SOME_VALUE}"),
        ("x-${there}-${group.number}", "x-${oc.env:SOME_VALUE}-${oc.env:SOME_NUMBER}"),
        ("${oc.select:there}", "${oc.env:SOME_VALUE}"),
        ("${oc.decode:${digits}}", "${oc.env:SOME_NUMBER}"),
        ("${group}", {"number": "${oc.env:SOME_NUMBER}", "list": [1, "${oc.env:SOME_VALUE}"], "plain": 3}),
        ("${group.list}", [1, "${oc.env:SOME_VALUE}"]),
        ("${by_name}", "${by_name}"),
        (["${there}"], ["${oc.env:SOME_VALUE}"]),
        ("${plain}", "a value"),
        ("${group.plain}", 3),
    ],
    ids=str,
)
def test_what_comes_from_the_environment_is_recorded_as_a_reference_to_it(written, expected):
    group = {"number": "${oc.decode:${oc.env:SOME_NUMBER}}", "list": [1, "${there}"], "plain": 3}
    names = {SECRET: "a"}
    by_name = "${names.${oc.env:SOME_VALUE}}"
    given = {"there": "${oc.env:SOME_VALUE}", "digits": "${oc.env:SOME_NUMBER}", "plain": "a value"}
    given["spaced"] = "${ oc.env:SOME_VALUE}"
    found = record_of(key=written, group=group, names=names, by_name=by_name, **given)
    assert found["key"] == expected


def test_overrides_stay_as_they_were_typed():
    given = ["logger.wandb.project=${oc.env:SOME_VALUE}", "seed=3", "+notes='\\${there}'"]
    overrides = OmegaConf.create({"task": given}).task
    assert SECRET in overrides[0]
    assert typed(overrides) == given
    assert [one.get_key_element() for one in OverridesParser.create().parse_overrides(typed(overrides))]


@pytest.mark.parametrize(
    ("override", "kept"),
    [
        ("data.train=${oc.env:D}/texts.csv", "data.train=${oc.env:D}/texts.csv"),
        ("data.train=/home/me/texts.csv", "data.train=texts.csv"),
        ("data.train='/home/me/a=1,b/texts.csv'", "data.train=texts.csv"),
        ('data.train=["/home/me/a=1/x (2).csv",/b/c.csv]', 'data.train=["x (2).csv",c.csv]'),
        ("data.train=${oc.env:D,/home/me/texts.csv}", "data.train=${oc.env:D,texts.csv}"),
    ],
)
def test_overrides_are_as_typed_but_for_the_way_to_files(override, kept):
    assert shown([override]) == [kept]
