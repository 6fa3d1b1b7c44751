"""Overrides as they are typed."""

from hydra.core.override_parser.overrides_parser import OverridesParser

from chirplet.cli.overrides import quoted_signs


def test_a_value_of_one_sign_is_a_text():
    typed = ["data.delimiter=;", "+data.delimiter=,", "data.escape=\\", "seed=1", "output=-", "stage.text_column=text"]
    values = [one.value() for one in OverridesParser.create().parse_overrides(quoted_signs(typed))]
    assert values == [";", ",", "\\", 1, "-", "text"]
    assert quoted_signs(["-m", "--help", "a=b=;", "x='"]) == ["-m", "--help", "a=b=;", "x='"]
