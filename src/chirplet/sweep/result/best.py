"""The best trials of a sweep, and the experiment file of the best one."""

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from chirplet.sweep.plan.plan import Plan
from chirplet.sweep.result.standing import feasible
from chirplet.system.atomic_io import atomic_file
from chirplet.system.command_line import command, override_of
from chirplet.system.console import shown_path
from chirplet.system.error import ConfigError

GROUP = "experiment"
"""The config group of the experiment file."""
NAME = "tuned"

OF_THE_SWEEP = ("hydra", "search")
"""Keys that configure the launch and the search, not a run."""

SEARCHPATH = "hydra.searchpath in command-line"
"""Where Hydra says that a folder of options comes from; those of `--config-dir` come from `command-line`."""

_WORD = re.compile(r"(override )?[A-Za-z_/][A-Za-z0-9_./@-]*")
"""Text that needs no quotes, except words like `yes` and `null`, which PyYAML quotes itself."""


def ranking(study: Study, plan: Plan) -> list[FrozenTrial]:
    """The complete and feasible trials, best first by the first objective, ties by number."""
    trials = study.get_trials(states=(TrialState.COMPLETE,))
    return sorted(filter(feasible, trials), key=lambda trial: _rank(trial, plan))


def best_trial(study: Study, plan: Plan) -> FrozenTrial | None:
    """The best complete and feasible trial by the first objective, or None."""
    return next(iter(ranking(study, plan)), None)


def front(study: Study, plan: Plan) -> list[FrozenTrial]:
    """The complete and feasible trials that no other one dominates, best first by the first objective."""
    return sorted(study.best_trials, key=lambda trial: _rank(trial, plan))


def experiment_text(overrides: Sequence[Override], is_group: Callable[[str], bool], heading: Sequence[str]) -> str:
    """A Hydra experiment file that composes to the same configuration as the overrides.

    Overrides of the sweep itself (`hydra.*`, the group `search`) are left out. If the overrides select an experiment,
    the file extends it.

    Args:
        overrides: as Hydra's parser gives them, without sweeps.
        is_group: whether a key names a config group.
        heading: the comment lines at the top.

    Raises:
        ConfigError: an experiment file cannot express an override: a sweep, a deleted key, one item of a list,
            or an experiment with the name of the file.
    """
    bases: list[str] = []
    added: dict[str, Any] = {}
    chosen: dict[str, Any] = {}
    deleted: dict[str, None] = {}
    settings = OmegaConf.create()
    for override in overrides:
        key = override.key_or_group
        if re.split(r"[./]", key)[0] in OF_THE_SWEEP:
            continue
        if override.is_sweep_override():
            raise ConfigError(f"{override.input_line}: an experiment file has one value for each key, not a sweep")
        if not is_group(key) or isinstance(override.value(), dict):
            _set(settings, override)
            continue
        target = f"/{key}" if override.package is None else f"/{key}@{override.package}"
        if override.is_delete():
            deleted[target] = None
        elif target == f"/{GROUP}":
            bases = _experiments(override)
        else:
            (added if override.is_add() else chosen)[target] = override.value()
    if f"/{GROUP}" in deleted:
        # Hydra applies a deletion wherever it is on the command line.
        del deleted[f"/{GROUP}"]
        bases = []
    lines = ["# @package _global_", *_comments(heading)]
    before = [f"/{GROUP}/{base}" for base in bases] + [{target: option} for target, option in added.items()]
    # `_self_` is where Hydra would put it by default. It shows readers that the file overrides what it extends.
    entries = [*before, "_self_"] if before else []
    entries += [{f"override {target}": option} for target, option in {**chosen, **deleted}.items()]
    body: Any = {"defaults": entries} if entries else {}
    body |= OmegaConf.to_container(settings, resolve=False)
    if body:
        lines.append(yaml.dump(body, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=math.inf))
    return "\n".join(lines).rstrip("\n") + "\n"


def write_best(folder: Path, text: str) -> Path:
    """Write `folder/experiment/tuned.yaml` atomically. `best_command` selects it.

    Raises:
        OSError: the file cannot be written.
    """
    path = folder / GROUP / f"{NAME}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as stream:
        stream.write(text.encode())
    return path


def best_command(folder: Path, config: DictConfig) -> str:
    """The command that trains with the experiment file, and finds the options of the user that the sweep found.

    `config` is the sweep's configuration.
    """
    sources = config.hydra.runtime.config_sources
    given = [source.path for source in sources if source.provider == "command-line"]
    added = [f"{source.schema}://{source.path}" for source in sources if source.provider == SEARCHPATH]
    if not (given or added):
        return command("--config-dir", shown_path(folder), f"{GROUP}={NAME}")
    searched = override_of("hydra.searchpath", [f"file://{folder}", *added])
    return command(*(part for path in given for part in ("--config-dir", path)), searched, f"{GROUP}={NAME}")


def _rank(trial: FrozenTrial, plan: Plan) -> tuple[float, int]:
    sign = -1.0 if plan.directions[0] == "maximize" else 1.0
    return sign * trial.values[0], trial.number


def _set(settings: DictConfig, override: Override) -> None:
    """Apply an override to `settings` as Hydra does to the composed configuration."""
    key = override.key_or_group
    if override.is_delete():
        raise ConfigError(f"{override.input_line}: an experiment file cannot delete a key; try {key}=null")
    if any(part.isdecimal() for part in key.split(".")):
        raise ConfigError(
            f"{override.input_line}: an experiment file cannot set one item of a list; set the whole list"
        )
    OmegaConf.update(settings, key, override.value(), merge=True, force_add=True)


def _experiments(override: Override) -> list[str]:
    value = override.value()
    names = value if isinstance(value, list) else [str(value)]
    if NAME in names:
        # The file would extend itself.
        raise ConfigError(
            f"{override.input_line}: {NAME} is the name of the file that the sweep writes; copy it to another name"
        )
    return names


def _comments(heading: Sequence[str]) -> list[str]:
    # At the top of a file, Hydra parses `# @` as a header.
    lines = [line.lstrip("@ ") for text in heading for line in text.splitlines()]
    return ["# " + "".join(character for character in line if character.isprintable()) for line in lines]


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Quotes all text except plain words: PyYAML leaves some text unquoted that OmegaConf reads as numbers."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if _WORD.fullmatch(text) else '"')


_Dumper.add_representer(str, _text)
