"""What is printed for a user to paste comes back from the shell and from Hydra as it was."""

import shlex
import sys

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from chirplet.system.command_line import argument, command, override_of

NASTY = st.text(
    st.one_of(st.sampled_from("=,:;()[]{}<>'\"\\$ \t\n~*?!#&|%@+-_/."), st.characters(exclude_categories=["Cs", "Cc"]))
)
SIMPLE = st.one_of(st.none(), st.booleans(), st.integers(-(2**40), 2**40), st.floats(allow_nan=False), NASTY)
VALUES = st.one_of(SIMPLE, st.lists(SIMPLE, max_size=3), st.dictionaries(st.sampled_from(["a b", "c:d", "e"]), SIMPLE))


def read(words):
    """What a configuration has after the shell and Hydra read the one override among the words."""
    [word] = shlex.split(words)
    parsed = OverridesParser.create().parse_override(word)
    assert parsed.key_or_group == "data.train" and not parsed.is_sweep_override()
    return OmegaConf.to_container(OmegaConf.create({"key": parsed.value()}), resolve=True)["key"]


@given(VALUES)
def test_a_value_comes_back(value):
    back = read(argument("data.train", value))
    assert back == value and type(back) is type(value)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("outputs/2026-11-28/artifact", "data.train=outputs/2026-11-28/artifact"),
        ("my texts.csv", "'data.train=my texts.csv'"),
        ("a=1,b(2)", "'data.train=\"a=1,b(2)\"'"),
        ("null", "'data.train=\"null\"'"),
        ("12", "'data.train=\"12\"'"),
        ("${seed}", "'data.train=\"\\${seed}\"'"),
    ],
)
def test_quotes_are_there_only_where_they_must_be(text, word):
    assert argument("data.train", text) == word
    assert read(word) == text


def test_a_command_is_one_line_of_words():
    line = command("-m", override_of("artifact", "it's/a=b"), "input=FILE")
    assert shlex.split(line) == ["chirplet", "-m", 'artifact="it\'s/a=b"', "input=FILE"]


def test_a_command_begins_as_this_process_did(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/clone/run.py", "stage=chain"])
    assert command("seed=1") == "python run.py seed=1"
    monkeypatch.setattr(sys, "argv", ["/usr/bin/chirplet"])
    assert command("seed=1") == "chirplet seed=1"
