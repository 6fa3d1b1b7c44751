from pathlib import Path

import pytest
from transformers import PreTrainedModel

from checkpoints import settings_of
from chirplet.model.loading.load import load_model
from chirplet.model.structure.freezing import Layers, Method, count_trainable, freeze
from chirplet.system.error import ModelError

# tiny_bert: 400 tokens, 64 positions, 2 types, 32 wide, 64 in the feed-forward part, 3 labels
NORM = 2 * 32
EMBEDDINGS = (400 + 64 + 2) * 32 + NORM
LAYER = 4 * (32 * 32 + 32) + NORM + (32 * 64 + 64) + (64 * 32 + 32) + NORM
POOLER = 32 * 32 + 32
HEAD = POOLER + 3 * 32 + 3


@pytest.fixture
def model(checkpoints: dict[str, Path]) -> PreTrainedModel:
    return load_model(settings_of(checkpoints["bert"]), ["a", "b", "c"], seed=0).model


@pytest.mark.parametrize(
    ("method", "layers", "embeddings", "expected"),
    [
        ("full", None, False, EMBEDDINGS + 2 * LAYER + HEAD),
        ("head", None, False, HEAD),
        ("head", 1, True, HEAD),
        ("last_layers", 0, False, HEAD),
        ("last_layers", 1, False, HEAD + LAYER),
        ("last_layers", 2, False, HEAD + 2 * LAYER),
        ("last_layers", 1, True, HEAD + LAYER + EMBEDDINGS),
        ("last_layers", "all", False, HEAD + 2 * LAYER),
        ("last_layers", "all", True, HEAD + 2 * LAYER + EMBEDDINGS),
    ],
)
def test_how_much_is_trained(
    model: PreTrainedModel, method: Method, layers: Layers | None, embeddings: bool, expected: int
) -> None:
    freeze(model, method, layers, embeddings)
    assert count_trainable(model) == expected


def test_the_last_layer_is_the_one_below_the_head(model: PreTrainedModel) -> None:
    freeze(model, "last_layers", 1, embeddings=False)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name.split(".layer.")[1][0] for name in trained if ".layer." in name} == {"1"}
    assert not any("embeddings" in name for name in trained)


def test_freezing_again_starts_afresh(model: PreTrainedModel) -> None:
    freeze(model, "head", None, embeddings=False)
    freeze(model, "full", None, embeddings=False)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_each_architecture_has_a_head_to_train(checkpoint: Path) -> None:
    model = load_model(settings_of(checkpoint), ["a", "b"], seed=0).model
    freeze(model, "head", None, embeddings=False)
    assert 0 < count_trainable(model) <= POOLER + 2 * 32 + 2


@pytest.mark.parametrize("layers", [3, -1, None])
def test_layers_that_the_model_does_not_have(model: PreTrainedModel, layers: int | None) -> None:
    message = rf"^stage\.layers: got {layers}, should be 0 to 2, the model's layers, or all$"
    with pytest.raises(ModelError, match=message):
        freeze(model, "last_layers", layers, embeddings=False)
