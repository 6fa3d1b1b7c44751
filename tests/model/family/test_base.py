from pathlib import Path

import pytest
from torch import nn
from transformers import DistilBertConfig, DistilBertForSequenceClassification

from checkpoints import settings_of
from chirplet.model.family.base import depth_from_top, encoder_layers, head_modules, is_head
from chirplet.model.loading.load import load_model
from chirplet.system.error import ModelError


def test_layers_of_each_architecture(checkpoint: Path) -> None:
    model = load_model(settings_of(checkpoint), ["a", "b"], seed=0).model
    layers = encoder_layers(model)
    assert isinstance(layers, nn.ModuleList)
    assert len(layers) == 2


def test_the_head_is_all_outside_the_encoder(checkpoint: Path) -> None:
    model = load_model(settings_of(checkpoint), ["a", "b"], seed=0).model
    inside = {id(parameter) for module in head_modules(model) for parameter in module.parameters()}
    assert {name for name, parameter in model.named_parameters() if id(parameter) in inside} == {
        name for name, _ in model.named_parameters() if is_head(model, name)
    }
    assert "classifier" in {name.split(".")[0] for name, _ in model.named_parameters() if is_head(model, name)}


def test_depths(checkpoints: dict[str, Path]) -> None:
    model = load_model(settings_of(checkpoints["bert"]), ["a", "b"], seed=0).model
    depths = {
        "classifier.weight": 0,
        "bert.pooler.dense.weight": 0,
        "bert.encoder.layer.1.output.dense.bias": 1,
        "bert.encoder.layer.0.attention.self.query.weight": 2,
        "bert.embeddings.LayerNorm.weight": 3,
    }
    assert {name: depth_from_top(model, name) for name in depths} == depths


def test_a_parameter_of_no_known_part_is_refused(checkpoints: dict[str, Path]) -> None:
    model = load_model(settings_of(checkpoints["bert"]), ["a", "b"], seed=0).model
    with pytest.raises(ModelError, match=r"^parameter 'bert\.adapter\.weight' is neither of the embeddings"):
        depth_from_top(model, "bert.adapter.weight")


def test_an_architecture_without_encoder_layers() -> None:
    model = DistilBertForSequenceClassification(
        DistilBertConfig(vocab_size=10, dim=8, n_heads=2, n_layers=1, hidden_dim=8)
    )
    with pytest.raises(ModelError, match=r"^models of type 'distilbert' have no encoder\.layer"):
        encoder_layers(model)
