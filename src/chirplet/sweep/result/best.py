"""The best of a sweep: which trials they are, and the experiment file that repeats one of them."""

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
from chirplet.system.error import ConfigError

GROUP = "experiment"
"""The config group of what is written."""
NAME = "tuned"

OF_THE_SWEEP = ("hydra", "search")
"""What says how runs are launched and searched, and is no part of one of them."""

_WORD = re.compile(r"(override )?[A-Za-z_/][A-Za-z0-9_./@-]*")
"""Text that stands without quotes, but for words such as `yes` and `null`."""


def ranking(study: Study, plan: Plan) -> list[FrozenTrial]:
    """The complete and feasible trials, best first by the first objective; of equal ones the earlier comes first."""
    trials = study.get_trials(states=(TrialState.COMPLETE,))
    return sorted(filter(feasible, trials), key=lambda trial: _place(trial, plan))


def best_trial(study: Study, plan: Plan) -> FrozenTrial | None:
    """The best complete and feasible trial by the first objective, or None where there is none."""
    return next(iter(ranking(study, plan)), None)


def front(study: Study, plan: Plan) -> list[FrozenTrial]:
    """The complete and feasible trials that no other one dominates, best first by the first objective."""
    return sorted(study.best_trials, key=lambda trial: _place(trial, plan))


def experiment_text(overrides: Sequence[Override], is_group: Callable[[str], bool], heading: Sequence[str]) -> str:
    """A Hydra experiment file that composes to the same configuration as the overrides.

    Overrides of the sweep itself (`hydra.*`, the group `search`) are left out. An experiment among the overrides
    becomes the one that the file builds on.

    Args:
        overrides: as Hydra's parser gives them, without sweeps.
        is_group: whether a key names a config group.
        heading: what a reader should know, one comment a line.

    Raises:
        ConfigError: an override that an experiment file cannot express: a sweep, a key deleted, one item of a list,
            or an experiment of the file's own name.
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
            raise ConfigError(f"{override.input_line}: an experiment file holds one value for each key, not a sweep")
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
        # A deletion counts wherever it stands on the command line.
        del deleted[f"/{GROUP}"]
        bases = []
    lines = ["# @package _global_", *_comments(heading)]
    before = [f"/{GROUP}/{base}" for base in bases] + [{target: option} for target, option in added.items()]
    # `_self_` stands where Hydra would put it anyway, for the reader: the file goes over what it builds on.
    entries = [*before, "_self_"] if before else []
    entries += [{f"override {target}": option} for target, option in {**chosen, **deleted}.items()]
    body: Any = {"defaults": entries} if entries else {}
    body |= OmegaConf.to_container(settings, resolve=False)
    if body:
        lines.append(yaml.dump(body, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=math.inf))
    return "\n".join(lines).rstrip("\n") + "\n"


def write_best(folder: Path, text: str) -> Path:
    """Write `folder/experiment/tuned.yaml`, whole or not at all; `--config-dir FOLDER experiment=tuned` takes it.

    Raises:
        OSError: the disk is full or the place cannot be written.
    """
    path = folder / GROUP / f"{NAME}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as stream:
        stream.write(text.encode())
    return path


def _place(trial: FrozenTrial, plan: Plan) -> tuple[float, int]:
    sign = -1.0 if plan.directions[0] == "maximize" else 1.0
    return sign * trial.values[0], trial.number


def _set(settings: DictConfig, override: Override) -> None:
    """Do to `settings` what Hydra does to the composed configuration."""
    key = override.key_or_group
    if override.is_delete():
        raise ConfigError(f"{override.input_line}: an experiment file cannot delete a key; {key}=null may do instead")
    if any(part.isdecimal() for part in key.split(".")):
        raise ConfigError(f"{override.input_line}: an experiment file cannot set one item of a list; set all of them")
    OmegaConf.update(settings, key, override.value(), merge=True, force_add=True)


def _experiments(override: Override) -> list[str]:
    value = override.value()
    names = value if isinstance(value, list) else [str(value)]
    if NAME in names:
        # It would be found in the file's own place and build on itself.
        raise ConfigError(f"{override.input_line}: {NAME} is the name of the file to write; copy it to another name")
    return names


def _comments(heading: Sequence[str]) -> list[str]:
    # At the top of a file, Hydra reads `# @` as its own.
    lines = [line.lstrip("@ ") for text in heading for line in text.splitlines()]
    return ["# " + "".join(character for character in line if character.isprintable()) for line in lines]


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Quotes all text but plain words: of other text, PyYAML leaves some bare that OmegaConf reads as numbers."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if _WORD.fullmatch(text) else '"')


_Dumper.add_representer(str, _text)
