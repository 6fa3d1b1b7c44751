"""The files, models and artifacts that a recorded run read: which of them must be given again."""

import importlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from chirplet.artifact.artifact import Record
from chirplet.data.base import Source
from chirplet.data.table.files import matching_files
from chirplet.stage.run.identity import identity_in
from chirplet.system.error import ConfigError
from chirplet.system.hardware import set_torch_threads


def check_given(cfg: DictConfig, record: Record, given: Collection[str]) -> None:
    """See that what the record names by its last part alone was given or lies in the working directory.

    Raises:
        ConfigError: a line for each key that must be given.
    """
    faults = [*_files(cfg, given), *_models(cfg, record, given), *_parents(cfg, record)]
    if faults:
        raise ConfigError("\n".join(faults))


def pinned(cfg: DictConfig, record: Record, given: Collection[str]) -> DictConfig:
    """`cfg` with what the recorded run determined: the commit of a Hub model, and the number of threads.

    The order of sums, and so their last digits, depends on the latter.
    """
    import torch

    changed = cfg.copy()
    threads = record.training.get("threads")
    if cfg.trainer.threads is None and isinstance(threads, int) and not _gives(given, "trainer.threads"):
        set_torch_threads(None)  # as a run with null does
        changed.trainer.threads = None if threads == torch.get_num_threads() else threads
    key, base = _trained(cfg), record.lineage[0]
    if key is None or _gives(given, f"{key}.name_or_path") or _gives(given, f"{key}.revision"):
        return changed
    if len(record.lineage) == 1 and cfg[key].name_or_path == base.name:
        changed[key].revision = base.revision
    return changed


def _files(cfg: DictConfig, given: Collection[str]) -> Iterator[str]:
    for name in _source(cfg.data).paths:
        key, value = f"data.{name}", OmegaConf.to_container(cfg.data, resolve=True)[name]  # type: ignore[index, call-overload]
        for path in value if isinstance(value, list) else [value]:
            # What is no text is refused with the other settings.
            if isinstance(path, str) and not _gives(given, key) and not (Path(path).exists() or matching_files(path)):
                yield f"{key}: the record has {path!r} by its name alone; give {key}=PATH"


def _source(data: DictConfig) -> type[Source]:
    # What was composed, never what a record names.
    module, _, name = str(data["_target_"]).rpartition(".")
    source = getattr(importlib.import_module(module), name) if module.startswith("chirplet.data.") else None
    if not (isinstance(source, type) and issubclass(source, Source)):
        raise ConfigError(f"data._target_: got {data['_target_']!r}, should name a source of chirplet.data")
    return source


def _trained(cfg: DictConfig) -> str | None:
    """The key of the model that the stage trains; None if it starts from an artifact."""
    target = str(cfg.stage["_target_"])
    if target.startswith("chirplet.stage.finetune."):
        return "model"
    return "student" if target.startswith("chirplet.stage.distill.") and cfg.get("student") is not None else None


def _models(cfg: DictConfig, record: Record, given: Collection[str]) -> Iterator[str]:
    key = _trained(cfg)
    # A model of the hub has its commit on record, the bundled one its version; a folder has neither.
    if key is None or record.lineage[-1].revision is not None or _gives(given, f"{key}.name_or_path"):
        return
    name = cfg[key].name_or_path
    if isinstance(name, str) and not Path(name).expanduser().is_dir():
        yield f"{key}.name_or_path: the record has {name!r} by its name alone; give {key}.name_or_path=DIR"


def _parents(cfg: DictConfig, record: Record) -> Iterator[str]:
    target = str(cfg.stage["_target_"])
    if target.startswith("chirplet.stage.distill."):
        recorded = record.training.get("teachers", {})
        if cfg.teacher is None:
            several = f"[{','.join(['DIR'] * len(recorded))}]" if len(recorded) > 1 else "DIR"
            yield f"teacher: is missing; give teacher={several}: {_teachers(recorded)}"
        files = identity_in(record).unlabeled_files
        if files and cfg.unlabeled_files is None:
            yield f"unlabeled_files: is missing; give unlabeled_files=FILE: {', '.join(files)}"
    elif _trained(cfg) is None and cfg.artifact is None:
        parent = record.lineage[-1]
        yield (
            f"artifact: is missing; give artifact=DIR: {parent.name!r} of stage={parent.stage}, "
            f"whose id begins with {str(record.parent)[:12]}"
        )


def _gives(given: Collection[str], key: str) -> bool:
    return any(key == one or key.startswith(f"{one}.") for one in given)


def _teachers(recorded: dict[str, Any]) -> str:
    """The teachers in a record, as a message names them."""
    return ", ".join(f"{identity} (of stage={teacher.get('stage')})" for identity, teacher in recorded.items())
