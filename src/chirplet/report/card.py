"""The model card: an artifact's README.md, made from its record alone."""

from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from chirplet.artifact.artifact import Ancestor, Record, split_order
from chirplet.report.page import render_markdown
from chirplet.report.table import METRICS, PER_CLASS, metric_rows

# The docstrings of these sources' modules describe their texts and labels.
_ENGLISH = frozenset({"vader_tweets", "corona_nlp", "tweet_eval"})
_DATASETS = {"tweet_eval": "cardiffnlp/tweet_eval"}
_METRIC_TYPES = {"accuracy": "accuracy", "f1_macro": "f1", "precision_macro": "precision", "recall_macro": "recall"}

CLEANING = {
    "none": "texts are not changed",
    "original_study": "contractions written out, URLs and mentions replaced by placeholders, `RT` and `#` dropped, "
    "punctuation except `!?.,'@` replaced by spaces, lower case",
    "twitter_roberta": "mentions replaced by `@user`, URLs by `http`",
    "bertweet": "mentions replaced by `@USER`, URLs by `HTTPURL`, emoji by their names",
    "emoji": "emoji replaced by the words of their names",
}

LONG = frozenset({"sensitivity", "tried"})
"""Per-layer results of quantization, which are too long for a card."""


def model_card(record: Record) -> str:
    """Markdown with the hub's YAML metadata on top.

    A model that started from random weights has a warning at the beginning.
    """
    return render_markdown(
        "card.md.j2",
        metadata=_metadata(record).to_yaml(),
        record=record,
        base=_base(record),
        splits=split_order(record.metrics),
        evaluated=_evaluated(record),
        metric_rows=metric_rows(record),
        per_class=PER_CLASS,
        cleaning=CLEANING[record.cleaning],
        runtime=_runtime(record),
        training=_flat({name: value for name, value in record.training.items() if name not in LONG}),
        settings=_flat(record.settings),
        cost=_flat(record.cost),
        findings={kind: count for kind, count in record.data.report.get("found", {}).items() if count},
        dropped={kind: count for kind, count in record.data.report.get("dropped", {}).items() if count},
        is_english=record.data.source in _ENGLISH,
        versions=", ".join(f"{name} {version}" for name, version in record.versions.items()),
    )


def _metadata(record: Record) -> ModelCardData:
    evaluated = _evaluated(record)
    dataset = _DATASETS.get(record.data.source)
    results = [
        EvalResult(
            task_type="text-classification",
            dataset_type=dataset or record.data.source,
            dataset_name=record.data.source,
            dataset_split=evaluated,
            metric_type=kind,
            metric_name=METRICS[key],
            metric_value=round(record.metrics[evaluated][key], 6),
        )
        for key, kind in _METRIC_TYPES.items()
        if evaluated is not None
    ]
    base = _base(record)
    return ModelCardData(
        # The hub links base models by id; a folder's name would link to another model or to none.
        base_model=base.name if base.pretrained and "/" in base.name else None,
        datasets=[dataset] if dataset else None,
        language="en" if record.data.source in _ENGLISH else None,
        library_name="transformers" if _runtime(record) == "pytorch" else "chirplet",
        pipeline_tag="text-classification",
        tags=["sentiment", "texts", "chirplet"],
        metrics=sorted(set(_METRIC_TYPES.values())) if results else None,
        model_name=f"{record.stage} ({record.method}) on {record.data.source}",
        eval_results=results or None,
    )


def _runtime(record: Record) -> str:
    """The model's runtime, in the record of a quantized model; PyTorch for all others."""
    runtime: str = record.training.get("runtime", "pytorch")
    return runtime


def _base(record: Record) -> Ancestor:
    return record.lineage[0]


def _evaluated(record: Record) -> str | None:
    """The split whose metrics the card reports: test, else validation, never train."""
    return next((split for split in ("test", "val") if split in record.metrics), None)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested values as dotted names and formatted text: `latency_ms.p50: 3.21`. Null values are left out."""
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        elif value is not None and name != "_target_":
            flat[f"{prefix}{name}"] = _shown(value)
    return flat


def _shown(value: Any) -> str:
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 10_000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
