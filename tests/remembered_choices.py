"""Hydra composes each choice of options once in a process: most tests change single keys of the same ones."""

import copy
from pathlib import Path
from typing import Any

from hydra._internal import config_loader_impl
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository, IConfigRepository
from hydra._internal.defaults_list import DefaultsList, Overrides
from hydra.core.default_element import ResultDefault
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from places import CONF

FOLDERS = {str(CONF), str(Path(__file__).parent / "sweep" / "toy" / "conf")}
create_defaults_list = config_loader_impl.create_defaults_list
compose = ConfigLoaderImpl._compose_config_from_defaults_list
_lists: dict[Any, DefaultsList] = {}
_composed: dict[Any, DictConfig] = {}


class _Known(list[ResultDefault]):
    """The files of a choice, in the order that they are composed in."""

    key: Any


def remember() -> None:
    """Let Hydra do so, for choices among the files of this repository, which no test changes."""
    config_loader_impl.create_defaults_list = _defaults_list
    ConfigLoaderImpl._compose_config_from_defaults_list = _compose
    # Hydra copies a repository to replace its list of sources, and changes none of them.
    ConfigRepository.__deepcopy__ = lambda repository, memo: copy.copy(repository)


def _defaults_list(
    repo: IConfigRepository,
    config_name: str | None,
    overrides_list: list[Override],
    prepend_hydra: bool,
    skip_missing: bool,
) -> DefaultsList:
    sources = tuple((source.scheme(), source.path) for source in repo.get_sources())
    if not all(scheme in ("pkg", "structured") or path in FOLDERS for scheme, path in sources):
        return create_defaults_list(repo, config_name, overrides_list, prepend_hydra, skip_missing)
    keys = Overrides(repo=repo, overrides_list=overrides_list).config_overrides
    values = {id(override) for override in keys}
    choices = tuple(override.input_line for override in overrides_list if id(override) not in values)
    key = (config_name, choices, prepend_hydra, skip_missing, sources)
    if key not in _lists:
        made = create_defaults_list(repo, config_name, overrides_list, prepend_hydra, skip_missing)
        made.defaults = _Known(made.defaults)
        made.defaults.key = key
        _lists[key] = made
    known = _lists[key]
    return DefaultsList(known.defaults, known.defaults_tree, keys, known.overrides)


def _compose(self: ConfigLoaderImpl, defaults: list[ResultDefault], repo: IConfigRepository) -> DictConfig:
    if not isinstance(defaults, _Known):
        return compose(self, defaults, repo)
    if defaults.key not in _composed:
        _composed[defaults.key] = compose(self, defaults, repo)
    return copy.deepcopy(_composed[defaults.key])
