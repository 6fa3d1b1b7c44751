"""Where knowledge may lie: composed configurations in the command line and the sweeper alone."""

import ast

from places import ROOT

SRC = ROOT / "src" / "chirplet"


def names_dict_config(source: str) -> bool:
    return any(
        (isinstance(node, ast.alias) and node.name == "DictConfig")
        or (isinstance(node, ast.Attribute) and node.attr == "DictConfig")
        for node in ast.walk(ast.parse(source))
    )


def test_composed_configurations_are_known_to_the_command_line_and_the_sweeper():
    naming = {
        path.relative_to(SRC).parts[0]
        for path in SRC.rglob("*.py")
        if names_dict_config(path.read_text(encoding="utf-8"))
    }
    assert naming == {"cli", "sweep"}


def test_a_module_that_names_it_is_seen():
    assert names_dict_config("from omegaconf import DictConfig") and names_dict_config("omegaconf.DictConfig")
