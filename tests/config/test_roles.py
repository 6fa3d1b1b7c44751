"""Roles stand on fields, and every key of the configuration has its field."""

from chirplet.cli.binding import Experiment
from chirplet.config.roles import Role, RunKeys, keys_with


def test_every_key_with_a_role_is_a_key_of_the_configuration(compose_config):
    keys = set(compose_config())
    assert set(RunKeys.model_fields) <= keys
    assert set(Experiment.model_fields) == keys


def test_keys_with_any_of_several_roles():
    assert set(keys_with(Role.LOCAL, Role.UNRECORDED)) == {*keys_with(Role.LOCAL), "chain"}


def test_what_is_hidden_or_a_parent_is_local():
    assert {*keys_with(Role.HIDDEN), *keys_with(Role.PARENT)} <= set(keys_with(Role.LOCAL))


def test_no_role_is_without_a_key():
    assert all(keys_with(role) for role in Role)
