"""Migration of records of older schemas.

Schema 1 (July to November 2026) had other names for keys of `cost`, `training`, `settings` and `config`, and for the
file of a label-only baseline's predictions.
"""

from collections.abc import Mapping
from typing import Any

BASELINE_PREDICTIONS_1 = "control.parquet"
"""Schema 1's name of the predictions of a label-only baseline."""

_KEYS = {
    "beside": "compared_with",
    "control": "label_only_baseline",
    "curve_tweets": "curve_texts",
    "evidence_tweets": "calibration_texts",
    "feed_forward": "intermediate_size",
    "kept": "excluded_layers",
    "labelled": "labeled",
    "repeat": "reproduce",
    "sensitivity_tweets": "sensitivity_texts",
    "times_tweets_per_s": "times_texts_per_s",
    "transfer": "unlabeled_files",
    "transfer_column": "unlabeled_column",
    "transfer_encoding": "unlabeled_encoding",
    "tweets": "texts",
    "tweets_per_s": "texts_per_s",
    "tweets_timed": "texts_timed",
    "views": "augmentations_per_text",
}
_KEYS_OF = {
    "cut": {"depth": "num_layers"},
    "shape": {"width": "hidden_size"},
    "quantizer": {"tweets": "calibration_texts"},
    "texts": {
        "transfer": "unlabeled",
        "transfer_files": "unlabeled_files",
        "transfer_left_out": "unlabeled_left_out",
        "views": "augmented",
    },
}
"""Names that differ from `_KEYS`, by the key of the mapping that contains them."""
_CLEANINGS = {"seed": "original_study"}


def migrated(content: Any) -> Any:
    """A record with the names that keys have now; other content is returned unchanged."""
    if not isinstance(content, dict):
        return content
    return _with_table_keys(_of_schema_2(content) if content.get("schema_version") == 1 else content)


def _with_table_keys(content: dict[str, Any]) -> dict[str, Any]:
    """Put `unlabeled_column` and `unlabeled_encoding` into `unlabeled`, where they are now."""
    config = content.get("config")
    if not isinstance(config, dict) or not isinstance(config.get("stage"), dict):
        return content
    stage = dict(config["stage"])
    names = {"unlabeled_column": "text_column", "unlabeled_encoding": "encoding"}
    unlabeled = {new: stage.pop(old) for old, new in names.items() if old in stage}
    return content | {"config": config | {"stage": stage | {"unlabeled": unlabeled}}} if unlabeled else content


def _of_schema_2(content: dict[str, Any]) -> dict[str, Any]:
    record = content | {name: _renamed(content[name]) for name in ("cost", "training", "settings") if name in content}
    record["schema_version"] = 2
    if isinstance(content.get("config"), dict):
        record["config"] = _configuration(content["config"])
    if isinstance(content.get("cleaning"), str):
        record["cleaning"] = _CLEANINGS.get(content["cleaning"], content["cleaning"])
    return record


def _configuration(config: dict[str, Any]) -> dict[str, Any]:
    """Rename keys, except in groups whose names users choose, and in `data`, whose keys did not change."""
    groups: dict[str, Any] = {
        name: _renamed(config[name], name) for name in ("stage", "pruner", "quantizer") if name in config
    }
    for name in ("model", "student", "teacher"):
        model = config.get(name)
        if isinstance(model, dict):
            groups[name] = _renamed(model)
            if isinstance(model.get("cleaning"), str):
                groups[name]["cleaning"] = _CLEANINGS.get(model["cleaning"], model["cleaning"])
    return {_KEYS.get(name, name): groups.get(name, value) for name, value in config.items()}


def _renamed(value: Any, holder: str = "") -> Any:
    if isinstance(value, list):
        return [_renamed(item, holder) for item in value]
    if not isinstance(value, Mapping):
        return value
    names = _KEYS | _KEYS_OF.get(holder, {})
    pairs = ((names.get(str(key), str(key)), item) for key, item in value.items())
    return {name: _renamed(item, name) for name, item in pairs}
