"""Weights that a checkpoint lacks, or has without a place in its model, are noticed by the names of every family."""

import re
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from torch import Tensor

from checkpoints import KINDS, settings_of, tiny
from chirplet.model.family import family_of
from chirplet.model.loading.load import load_model
from chirplet.model.loading.open import open_config
from chirplet.system.error import ModelError


@pytest.fixture(scope="module", params=["bert", "roberta", "bertweet", *KINDS])
def checkpoint(request, tmp_path_factory) -> tuple[Path, dict[str, Tensor]]:
    folder = tiny(request.param, tmp_path_factory.mktemp(request.param))
    return folder, load_file(folder / "model.safetensors")


@pytest.fixture
def load(checkpoint):
    folder, weights = checkpoint

    def loaded(changed: dict[str, Tensor]):
        save_file(changed, folder / "model.safetensors", {"format": "pt"})
        return load_model(settings_of(folder, attention="auto"), "abc", 0).model

    yield loaded
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def test_a_layer_more_than_config_json_has_is_noticed(checkpoint, load):
    folder, weights = checkpoint
    family = family_of(open_config(settings_of(folder), folder))
    places = {name: family.within_layer(name) for name in weights}
    last = max(place[0] for place in places.values() if place is not None)
    layer = f"{family.layers_name}.{last}."
    more = {
        name.replace(layer, f"{family.layers_name}.{last + 1}."): weights[name].clone()
        for name, place in places.items()
        if place is not None and place[0] == last
    }
    with pytest.raises(ModelError, match=rf"more layers than its config\.json \(.*{family.layers_name}\.{last + 1}\."):
        load(weights | more)


@pytest.mark.parametrize("which", ["layer", "embeddings"])
def test_a_missing_weight_of_the_encoder_is_noticed(checkpoint, load, which):
    folder, weights = checkpoint
    family = family_of(open_config(settings_of(folder), folder))
    inside = [name for name in weights if (family.within_layer(name) is not None) == (which == "layer")]
    gone = inside[-1] if which == "layer" else next(name for name in inside if "embeddings" in name)
    with pytest.raises(ModelError, match=rf"lacks 1 weights of its encoder.*{re.escape(gone.partition('.')[2])}"):
        load({name: weight for name, weight in weights.items() if name != gone})


def test_weights_with_the_prefix_of_a_wrapper_are_explained(checkpoint, load):
    _, weights = checkpoint
    with pytest.raises(ModelError, match=r"lacks \d+ weights of its encoder.*names start with '_orig_mod\.'"):
        load({f"_orig_mod.{name}": weight for name, weight in weights.items()})


def test_a_checkpoint_without_a_head_gets_a_new_one(checkpoint, load):
    folder, weights = checkpoint
    family = family_of(open_config(settings_of(folder), folder))
    encoder = {name: weight for name, weight in weights.items() if not re.match(r"(head|classifier)\.", name)}
    model = load(encoder)
    assert all(weight.isfinite().all() for weight in model.parameters())
    assert model.config.num_labels == 3 and family is family_of(model)
