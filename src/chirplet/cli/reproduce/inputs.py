"""What a run read beside its configuration: is it here, and is it what it was?"""

import importlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from chirplet.artifact.artifact import RECORD, Artifact, Record
from chirplet.data.base import Source, row_names
from chirplet.model.loading.bundled import sha256
from chirplet.stage.distill import Distill
from chirplet.stage.finetune import Finetune
from chirplet.stage.run.context import given_artifact
from chirplet.system.error import ArtifactError, ConfigError, DataError, UserError
from chirplet.system.hardware import set_torch_threads

if TYPE_CHECKING:
    from chirplet.cli.experiment import Experiment
    from chirplet.model.pretrained import Pretrained


def check_given(cfg: DictConfig, record: Record, own: Collection[str]) -> None:
    """See that what the record names by its last part alone was given or lies in the working directory.

    Raises:
        ConfigError: a line for each key that must be given.
    """
    faults = [*_files(cfg, own), *_models(cfg, record, own), *_parents(cfg, record)]
    if faults:
        raise ConfigError("\n".join(faults))


def pinned(cfg: DictConfig, record: Record, own: Collection[str]) -> DictConfig:
    """`cfg` with what its run found by itself: the commit of a hub's model, and the number of threads.

    The order of sums, and so their last digits, depends on the latter.
    """
    import torch

    changed = cfg.copy()
    threads = record.training.get("threads")
    if cfg.trainer.threads is None and isinstance(threads, int) and not _gives(own, "trainer.threads"):
        set_torch_threads(None)  # as a run with null does
        changed.trainer.threads = None if threads == torch.get_num_threads() else threads
    key, base = _trained(cfg), record.lineage[0]
    if key is None or _gives(own, f"{key}.name_or_path") or _gives(own, f"{key}.revision"):
        return changed
    if len(record.lineage) == 1 and cfg[key].name_or_path == base.name:
        changed[key].revision = base.revision
    return changed


def check_same(experiment: "Experiment", record: Record, own: Collection[str]) -> None:
    """See that parents, models, files of tweets and the data are those that the record tells of.

    Data whose settings are among the user's `own` may be others.

    Raises:
        ArtifactError: a parent or a model is another one.
        DataError: tweets are other ones.
    """
    stage = experiment.stage
    if isinstance(stage, Distill):
        _check_teachers(stage, record)
        _check_transfer(stage, record)
    elif not isinstance(stage, Finetune):
        folder: str | None = getattr(stage, "artifact", None)
        _check_parent("artifact", Path(given_artifact(folder)), record)
    models: dict[str, Pretrained | None] = {"model": experiment.model, "student": experiment.student}
    key = "model" if isinstance(stage, Finetune) else "student" if isinstance(stage, Distill) else None
    model = None if key is None else models[key]
    if key is not None and model is not None and model.is_folder:
        _check_model(f"{key}.name_or_path", model, record)
    _check_data(experiment, record, own)


def reads_the_same(experiment: "Experiment", record: Record) -> bool:
    """Whether the run that the record tells of read what this one would read."""
    try:
        check_same(experiment, record, own=())
    except UserError:
        return False
    return True


def _files(cfg: DictConfig, own: Collection[str]) -> Iterator[str]:
    for name in _source(cfg.data).paths:
        key, value = f"data.{name}", OmegaConf.to_container(cfg.data, resolve=True)[name]  # type: ignore[index, call-overload]
        for path in value if isinstance(value, list) else [value]:
            # What is no text is refused with the other settings.
            if isinstance(path, str) and not _gives(own, key) and not Path(path).exists():
                yield f"{key}: the record has {path!r} by its name alone; give {key}=PATH"


def _source(data: DictConfig) -> type[Source]:
    # What was composed, never what a record names.
    module, _, name = str(data["_target_"]).rpartition(".")
    found = getattr(importlib.import_module(module), name) if module.startswith("chirplet.data.") else None
    if not (isinstance(found, type) and issubclass(found, Source)):
        raise ConfigError(f"data._target_: got {data['_target_']!r}, should name a source of chirplet.data")
    return found


def _trained(cfg: DictConfig) -> str | None:
    """The key of the model that the stage trains, where that is none of an artifact."""
    target = str(cfg.stage["_target_"])
    if target.startswith("chirplet.stage.finetune."):
        return "model"
    return "student" if target.startswith("chirplet.stage.distill.") and cfg.get("student") is not None else None


def _models(cfg: DictConfig, record: Record, own: Collection[str]) -> Iterator[str]:
    key = _trained(cfg)
    # A model of the hub has its commit on record, the bundled one its version; a folder has neither.
    if key is None or record.lineage[-1].revision is not None or _gives(own, f"{key}.name_or_path"):
        return
    name = cfg[key].name_or_path
    if isinstance(name, str) and not Path(name).expanduser().is_dir():
        yield f"{key}.name_or_path: the record has {name!r} by its name alone; give {key}.name_or_path=DIR"


def _parents(cfg: DictConfig, record: Record) -> Iterator[str]:
    target = str(cfg.stage["_target_"])
    if target.startswith("chirplet.stage.distill."):
        told = record.training.get("teachers", {})
        if cfg.teacher is None:
            several = f"[{','.join(['DIR'] * len(told))}]" if len(told) > 1 else "DIR"
            yield f"teacher: is missing; give teacher={several}: {_teachers(told)}"
        files = _transfer_files(record)
        if files and cfg.transfer is None:
            yield f"transfer: is missing; give transfer=FILE: {', '.join(files)}"
    elif _trained(cfg) is None and cfg.artifact is None:
        parent = record.lineage[-1]
        yield (
            f"artifact: is missing; give artifact=DIR: {parent.name!r} of stage={parent.stage}, "
            f"whose id begins with {str(record.parent)[:12]}"
        )


def _teachers(told: dict[str, Any]) -> str:
    return ", ".join(f"{identity} (of stage={teacher.get('stage')})" for identity, teacher in told.items())


def _transfer_files(record: Record) -> dict[str, str]:
    """SHA-256 of each file without labels that a student read, by its name; other stages record a number of tweets."""
    tweets = record.training.get("tweets")
    return tweets.get("transfer_files", {}) if isinstance(tweets, dict) else {}


def _gives(own: Collection[str], key: str) -> bool:
    return any(key == one or key.startswith(f"{one}.") for one in own)


def _check_parent(key: str, folder: Path, record: Record) -> None:
    given = Artifact.open(folder.expanduser()).record.id
    if given != record.parent:
        raise ArtifactError(
            f"{key}: {str(folder)!r} has the id {given[:12]}, should be {str(record.parent)[:12]}, as in the record"
        )


def _check_teachers(stage: Distill, record: Record) -> None:
    folders = [stage.teacher] if isinstance(stage.teacher, str) else stage.teacher or []
    given = list(dict.fromkeys(Artifact.open(Path(folder).expanduser()).record.id[:12] for folder in folders))
    wanted = record.training.get("teachers", {})
    if given != list(wanted):
        raise ArtifactError(f"teacher: got {', '.join(given)}, should be {_teachers(wanted)}, as the record names them")


def _check_transfer(stage: Distill, record: Record) -> None:
    files = [stage.transfer] if isinstance(stage.transfer, str) else stage.transfer or []
    paths = [Path(file).expanduser() for file in files]
    given = {name: sha256(path) for name, path in zip(row_names(paths), paths, strict=True)}
    wanted = _transfer_files(record)
    if list(given.values()) != list(wanted.values()):
        raise DataError(
            f"transfer: got {', '.join(given) or 'null'}, should be the record's file: {', '.join(wanted) or 'null'}"
        )


def _check_model(key: str, model: "Pretrained", record: Record) -> None:
    from chirplet.model.loading.checkpoint import weight_files

    if record.parent is not None and (model.folder / RECORD).is_file():
        _check_parent(key, model.folder, record)
    digest = record.lineage[-1].weights_sha256
    if digest is None:
        return
    given = sha256(*weight_files(model, model.folder))
    if given != digest:
        raise ArtifactError(
            f"{key}: {str(model.folder)!r} holds other weights than the record names (SHA-256 {given[:12]}, "
            f"should be {digest[:12]})"
        )


def _check_data(experiment: "Experiment", record: Record, own: Collection[str]) -> None:
    from chirplet.data.preparation.prepare import prepare

    source = experiment.data
    settings = {f"data.{name}" for name in type(source).model_fields} - {f"data.{name}" for name in source.paths}
    if "data" in own or settings & set(own):
        return
    corpus = prepare(source, Path(experiment.cache_dir).expanduser())
    if corpus.fingerprint != record.data.fingerprint:
        raise DataError(
            f"data: gives other tweets or splits than the record's (fingerprint {corpus.fingerprint[:12]}, should be "
            f"{record.data.fingerprint[:12]}); should be the files it was made from"
        )
