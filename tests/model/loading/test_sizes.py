"""A configuration with larger sizes than its weights is refused before a model is built."""

from pathlib import Path

import pytest
import torch
from transformers import (
    AlbertConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    MobileBertConfig,
    ModernBertConfig,
    MPNetConfig,
    RobertaConfig,
)

from artifacts import tiny_artifact
from checkpoints import change_config, settings_of, tiny_bert, tiny_roberta
from chirplet.model.loading import sizes
from chirplet.model.loading.load import load_model
from chirplet.model.loading.open import open_config
from chirplet.runtime import pytorch
from chirplet.runtime.pytorch_int8 import load_int8, save_int8
from chirplet.system.error import ModelError

HUGE = {
    "num_hidden_layers": 10**6,
    "hidden_size": 10**9,
    "intermediate_size": 10**9,
    "vocab_size": 10**9,
    "max_position_embeddings": 10**9,
    "type_vocab_size": 10**9,
    "num_labels": 10**9,
    "num_attention_heads": 10**9,
}
LARGE = {
    "num_hidden_layers": 1_000,
    "hidden_size": 2**16,
    "intermediate_size": 2**20,
    "vocab_size": 2**24,
    "max_position_embeddings": 2**20,
    "type_vocab_size": 2**16,
}
"""Each within its bound, and far beyond the weights."""


@pytest.fixture
def base(tmp_path) -> Path:
    return tiny_bert(tmp_path / "base")


@pytest.fixture
def saved(base, tmp_path) -> Path:
    return tiny_artifact(base, tmp_path / "saved")


@pytest.fixture
def int8(saved, tmp_path) -> Path:
    save_int8(pytorch.load_model(saved), {}, tmp_path / "int8")
    return tmp_path / "int8"


def refused(act, folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        act(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{folder}/config.json: ")


OPENED = {
    "base": lambda folder: load_model(settings_of(folder), ["a", "b"], seed=0),
    "saved": pytorch.load_model,
    "int8": load_int8,
}


@pytest.mark.parametrize("kind", OPENED)
@pytest.mark.parametrize("key", HUGE)
def test_sizes_above_the_limits_are_refused(request, kind, key):
    folder = request.getfixturevalue(kind)
    OPENED[kind](folder)
    change_config(folder, **{key: HUGE[key]})
    assert refused(OPENED[kind], folder).startswith(f"{key}: got {HUGE[key]}, should be at most ")


@pytest.mark.parametrize("kind", OPENED)
@pytest.mark.parametrize("key", LARGE)
def test_sizes_above_the_weights_are_refused(request, kind, key):
    folder = request.getfixturevalue(kind)
    change_config(folder, **{key: LARGE[key]})
    message = refused(OPENED[kind], folder)
    assert key in message.partition(" make ")[0]
    assert " weights or more, but its file holds " in message


def test_random_weights_have_bounds_too(base):
    settings = settings_of(base).model_copy(update={"pretrained": False})
    change_config(base, hidden_size=2**16, intermediate_size=2**20)
    output = "num_hidden_layers, hidden_size, intermediate_size make 137,438,953,472 weights or more, but no model has "
    assert refused(lambda _: load_model(settings, ["a", "b"], seed=0), base).startswith(output)


def test_nested_sizes_are_checked(base):
    change_config(base, text_config={"n_layers": 10**6})
    assert refused(lambda folder: open_config(settings_of(folder), folder), base).startswith("n_layers: got 1000000")


@pytest.mark.parametrize(
    "config",
    [
        BertConfig(),
        BertConfig(hidden_size=1024, num_hidden_layers=24, intermediate_size=4096, num_attention_heads=16),
        RobertaConfig(vocab_size=50265, max_position_embeddings=514, type_vocab_size=1),
        ElectraConfig(),
        MobileBertConfig(),
        AlbertConfig(),
        AlbertConfig(hidden_size=768, intermediate_size=3072, num_attention_heads=12, num_hidden_groups=2),
        DebertaV2Config(hidden_size=768, num_hidden_layers=6, num_attention_heads=12, intermediate_size=3072),
        DistilBertConfig(),
        ModernBertConfig(hidden_size=256, num_hidden_layers=7, intermediate_size=384, num_attention_heads=4),
        MPNetConfig(),
    ],
    ids=lambda config: config.model_type,
)
def test_models_of_usual_sizes_have_no_fewer_weights_than_is_claimed(tmp_path, monkeypatch, config):
    config.save_pretrained(tmp_path)
    with torch.device("meta"):
        weights = AutoModelForSequenceClassification.from_config(config, trust_remote_code=False).num_parameters()
    monkeypatch.setattr(sizes, "_numbers", lambda _: weights)
    sizes.check_sizes(tmp_path, [tmp_path / "model.safetensors"])


def test_small_models_of_both_families_open(tmp_path, saved):
    assert pytorch.load_model(saved).config.model_type == "bert"
    roberta = load_model(settings_of(tiny_roberta(tmp_path / "roberta")), ["a", "b"], seed=0)
    assert roberta.model.config.num_labels == 2
