from collections import Counter
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from checkpoints import settings_of
from chirplet.model.loading.load import load_model
from chirplet.model.structure.freezing import freeze
from chirplet.model.structure.parameter_groups import parameter_groups


@pytest.fixture
def model(checkpoint: Path) -> PreTrainedModel:
    return load_model(settings_of(checkpoint), ["a", "b", "c"], seed=0).model


def rates(model: PreTrainedModel, layer_decay: float, head_learning_rate: float | None) -> dict[str, float]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model, 1e-3, 0.01, layer_decay, head_learning_rate)
    return {names[id(parameter)]: group["lr"] for group in groups for parameter in group["params"]}


@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
def test_each_parameter_once(model: PreTrainedModel, layer_decay: float) -> None:
    groups = parameter_groups(model, 1e-3, 0.01, layer_decay, None)
    counts = Counter(id(parameter) for group in groups for parameter in group["params"])
    assert counts == Counter(id(parameter) for parameter in model.parameters())


def test_rates_by_depth(model: PreTrainedModel) -> None:
    prefix = model.base_model_prefix
    actual = rates(model, layer_decay=0.5, head_learning_rate=None)
    last_bias = f"{prefix}.encoder.layer.1.output.dense.bias"
    assert {rate for name, rate in actual.items() if name.startswith("classifier")} == {1e-3}
    assert actual[last_bias] == 5e-4
    assert actual[f"{prefix}.encoder.layer.0.output.dense.bias"] == 2.5e-4
    assert actual[f"{prefix}.embeddings.word_embeddings.weight"] == 1.25e-4


def test_rate_of_the_head(model: PreTrainedModel) -> None:
    actual = rates(model, layer_decay=1.0, head_learning_rate=3e-3)
    head = {name for name, rate in actual.items() if rate == 3e-3}
    assert head == {name for name in actual if name.startswith("classifier") or ".pooler." in name}
    assert {rate for name, rate in actual.items() if name not in head} == {1e-3}


def test_only_matrices_decay(model: PreTrainedModel) -> None:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for group in parameter_groups(model, 1e-3, 0.01, 1.0, None):
        for parameter in group["params"]:
            spared = names[id(parameter)].endswith("bias") or "LayerNorm" in names[id(parameter)]
            assert group["weight_decay"] == (0.0 if spared else 0.01)


def test_as_few_groups_as_there_are_settings(model: PreTrainedModel) -> None:
    assert len(parameter_groups(model, 1e-3, 0.01, 1.0, None)) == 2
    assert len(parameter_groups(model, 1e-3, 0.0, 1.0, None)) == 1
    assert len(parameter_groups(model, 1e-3, 0.01, 1.0, 3e-3)) == 4
    assert len(parameter_groups(model, 1e-3, 0.01, 0.5, None)) == 8  # head, two layers, embeddings


def test_frozen_parameters_are_left_out(model: PreTrainedModel) -> None:
    freeze(model, "head", None, embeddings=False)
    groups = parameter_groups(model, 1e-3, 0.01, 0.5, None)
    assert {group["lr"] for group in groups} == {1e-3}
    assert all(parameter.requires_grad for group in groups for parameter in group["params"])


def test_adamw_updates_all_groups(model: PreTrainedModel) -> None:
    freeze(model, "last_layers", 1, embeddings=False)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.AdamW(parameter_groups(model, 1e-3, 0.01, 0.5, None))
    model(input_ids=torch.tensor([[4, 5, 6]]), labels=torch.tensor([1])).loss.backward()
    optimizer.step()
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved
    assert moved <= {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert any(name.startswith("classifier") for name in moved)
