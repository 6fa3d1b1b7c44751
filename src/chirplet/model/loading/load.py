"""Load a pretrained encoder with a classification head."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, PretrainedConfig, PreTrainedModel

from chirplet.model.family import family_of
from chirplet.model.loading.checkpoint import Origin, checkpoint_folder, origin_of, weight_files
from chirplet.model.loading.open import open_config, opening, shape_changes
from chirplet.model.loading.sizes import check_sizes
from chirplet.model.loading.tokenizer import load_tokenizer
from chirplet.model.pretrained import NAME, Pretrained, Shape
from chirplet.system.error import Key, ModelError

__all__ = ["LoadedModel", "Origin", "load_model", "load_tokenizer"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedModel:
    """A classifier in evaluation mode, in float32 on the CPU, and its origin."""

    model: PreTrainedModel
    origin: Origin


def load_model(
    settings: Pretrained, labels: Sequence[str], seed: int, problem_type: str = "single_label_classification"
) -> LoadedModel:
    """Open the checkpoint as a classifier of `labels`.

    The checkpoint's head is used if it has the same labels in the same order; otherwise a new one is drawn from `seed`.
    torch's global random state is neither used nor changed. `problem_type` is the task's name in `config.json`.

    Raises:
        ModelError: the checkpoint cannot be downloaded, is damaged or incomplete, or has no safetensors.
    """
    folder = checkpoint_folder(settings)
    stored = open_config(settings, folder)
    previous = _labels_of(stored)
    config = _classifier_config(settings, folder, stored, labels, problem_type)
    sizes = family_of(config).sizes(config)
    if settings.shape != Shape() and sizes.hidden_size % sizes.heads:
        wrong = f": got {sizes.hidden_size}, should be a multiple of its {sizes.heads} "
        raise ModelError(Key("model.shape.hidden_size"), wrong, Key("model.shape.heads"))
    weights = weight_files(settings, folder) if settings.pretrained else []
    check_sizes(folder, weights)
    with opening(settings), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if settings.pretrained:
            model = _open_weights(settings, folder, config, previous, seed)
        else:
            model = AutoModelForSequenceClassification.from_config(
                config, attn_implementation=_attention(settings, config), dtype=torch.float32, trust_remote_code=False
            )
    family_of(model).set_head_dropout(model, settings.classifier_dropout)
    model.eval()
    return LoadedModel(model, origin_of(settings, folder, weights))


def _classifier_config(
    settings: Pretrained, folder: Path, stored: PretrainedConfig, labels: Sequence[str], problem_type: str
) -> PretrainedConfig:
    return open_config(
        settings,
        folder,
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
        problem_type=problem_type,
        **family_of(stored).dropout_changes(stored, settings.dropout, settings.classifier_dropout),
        **shape_changes(settings, stored),
    )


def _attention(settings: Pretrained, config: PretrainedConfig) -> str:
    available = family_of(config).attentions
    if settings.attention not in ("auto", *available):
        raise ModelError(
            Key("model.attention"),
            f": got {settings.attention!r}, but models of type {config.model_type!r} have only "
            f"{' and '.join(available)}",
        )
    return available[0] if settings.attention == "auto" else settings.attention


def _labels_of(config: PretrainedConfig) -> list[str]:
    names = config.id2label or {}
    return [name for _, name in sorted((int(index), name) for index, name in names.items())]


def _open_weights(
    settings: Pretrained, folder: Path, config: PretrainedConfig, previous: list[str], seed: int
) -> PreTrainedModel:
    opened: tuple[PreTrainedModel, dict[str, Any]] = AutoModelForSequenceClassification.from_pretrained(
        folder,
        config=config,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
        attn_implementation=_attention(settings, config),
        dtype=torch.float32,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    model, info = opened
    absent = set(info["missing_keys"]) | {key for key, *_ in info["mismatched_keys"]}
    _check_encoder(settings, model, absent, set(info["unexpected_keys"]))
    family = family_of(model)
    head = {name for name, _ in model.named_parameters() if family.is_head(model, name)}
    missing, labels = head & set(info["missing_keys"]), _labels_of(config)
    if missing:  # the rest of the head is a language model's, as in ModernBERT
        initialise_head(model, seed, missing)
    elif previous != labels or head & absent:
        initialise_head(model, seed, head)
        if previous != labels:
            log.info(
                "a new classification head for %s; the checkpoint's is for %s",
                ", ".join(labels),
                ", ".join(previous),
            )
    return model


def _check_encoder(settings: Pretrained, model: PreTrainedModel, absent: set[str], unexpected: set[str]) -> None:
    """Check that every weight of the encoder was loaded, and that no layer of the checkpoint was left out.

    The pooler may be new, since checkpoints of language models have none.
    """
    family = family_of(model)
    lacking = sorted(key for key in absent if family.depth_from_top(model, key) > 0)
    if lacking:
        raise ModelError(
            NAME,
            f": {settings.name_or_path} lacks {len(lacking)} weights of its encoder, or has them in another size "
            f"({lacking[0]}, ...); ",
            *_remedy(model, lacking[0], unexpected),
        )
    surplus = sorted(key for key in unexpected if family.within_layer(key) is not None)
    if surplus:
        raise ModelError(
            NAME,
            f": {settings.name_or_path} has weights of more layers than its config.json ({surplus[0]}, ...)",
        )


def _remedy(model: PreTrainedModel, lacking: str, unexpected: set[str]) -> tuple[str, ...]:
    """What helps against the absence of the weight `lacking`: a wrapper may have saved it with a prefix of its own."""
    for name in (lacking, lacking.removeprefix(f"{model.base_model_prefix}.")):
        for key in sorted(unexpected):
            if key.endswith(f".{name}"):
                prefix = key.removesuffix(name)
                return (f"its names start with {prefix!r}, as a wrapper saves them; save the model inside the wrapper",)
    return Key("model.pretrained"), "=false starts from random weights"


def initialise_head(model: PreTrainedModel, seed: int, parameters: set[str]) -> None:
    """Initialize linear layers of the head: weights from N(0, initializer_range), biases zero.

    `parameters` names the head's parameters that are to be new.
    """
    generator = torch.Generator().manual_seed(seed)
    names = {module: name for name, module in model.named_modules()}
    for head in family_of(model).head_modules(model):
        for module in head.modules():
            if isinstance(module, nn.Linear) and f"{names[module]}.weight" in parameters:
                nn.init.normal_(module.weight, std=model.config.initializer_range, generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
