"""Overrides of a command, read and passed on."""

import re
from collections.abc import Sequence

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser

from chirplet.config.roles import Role, keys_with

_SIGN = re.compile(r"([^=]+)=([^\w\s'\"\\(){}\[\]])")


def quoted_signs(arguments: Sequence[str]) -> list[str]:
    """The arguments with values of one sign in quotes: `data.delimiter=;` is not in Hydra's grammar."""
    return [_SIGN.sub(r"\1='\2'", argument) if _SIGN.fullmatch(argument) else argument for argument in arguments]


def below_given(arguments: Sequence[str], chosen: Sequence[str]) -> list[str]:
    """The command line with `chosen` before its first override, so that what the user gave stands above them."""
    # Hydra's options come before or after all overrides, never between them.
    position = next(i for i, argument in enumerate(arguments) if "=" in argument and argument[0] != "-")
    return [*arguments[:position], *chosen, *arguments[position:]]


def inherited(overrides: Sequence[str]) -> list[str]:
    """Those of a run's overrides that a further run of the same data, model and trainer takes over.

    `model@teacher=NAME` names the model that a chain starts from: of its steps it is the model.
    """
    taken = []
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if key == "model@teacher" or key.startswith("teacher."):
            taken.append(override.replace(key, key.replace("model@teacher", "model").replace("teacher.", "model."), 1))
        elif key.partition(".")[0] not in keys_with(Role.THIS_RUN):
            taken.append(override)
    return taken


def first_job(overrides: Sequence[str]) -> list[str]:
    """The overrides of a multirun's first job."""
    parsed = _parser().parse_overrides(list(overrides))
    return [
        f"{one.get_key_element()}={next(iter(one.sweep_string_iterator()))}" if one.is_sweep_override() else override
        for override, one in zip(overrides, parsed, strict=True)
    ]


def _parser() -> OverridesParser:
    hydra = GlobalHydra.instance()
    return OverridesParser.create(config_loader=hydra.config_loader() if hydra.is_initialized() else None)


def values_of(overrides: Sequence[str], keys: Sequence[str]) -> list[str]:
    """Every text that a multirun's overrides give one of `keys`, in lists too, each once."""
    parser, values = _parser(), list[str]()
    for one in parser.parse_overrides(list(overrides)):
        if one.key_or_group in keys:
            single = [*one.sweep_string_iterator()] if one.is_sweep_override() else [one.get_value_string()]
            for text in single:
                value = parser.parse_override(f"key={text}").value()
                values += [str(part) for part in (value if isinstance(value, list) else [value]) if part is not None]
    return list(dict.fromkeys(values))
