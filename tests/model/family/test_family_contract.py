"""Every family is checked against the models of transformers. A new family adds its line to `architectures.KINDS`."""

import subprocess
import sys
from functools import partial

import pytest
import torch
from torch import nn
from transformers import AutoConfig

from architectures import GENERIC, KINDS, POSITIONS, SIZES, built, logits, texts
from chirplet.model.family import FAMILIES, family_of, matrix_of
from chirplet.model.structure.narrowing import narrowed
from chirplet.system.error import ModelError


def test_every_family_is_here():
    assert KINDS.keys() == FAMILIES.keys() | GENERIC


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def build(kind):
    return partial(built, kind)


@pytest.fixture
def model(build):
    return build()


@pytest.fixture
def family(model):
    return family_of(model)


def layer_path(model, family, index):
    return f"{model.base_model_prefix}.{family.layers_name}.{index}"


def test_is_that_of_the_model_and_of_its_configuration(model, family):
    assert family_of(model) is family_of(model.config) is family


def test_sizes_are_those_of_the_model(model, family):
    assert family.sizes(model.config) == SIZES
    assert SIZES.head_size == 6
    layers = family.layers(model)
    assert len(layers) == SIZES.layers
    assert len(set(layers)) == family.distinct_layers(model.config)
    wide = SIZES.intermediate_size * len(family.neuron_rows(torch.arange(1), SIZES.intermediate_size))
    shapes = dict.fromkeys(("query", "key", "value", "attention_output"), (SIZES.hidden_size, SIZES.hidden_size))
    shapes |= {"intermediate": (wide, SIZES.hidden_size), "output": (SIZES.hidden_size, SIZES.intermediate_size)}
    actual = {name: tuple(linear.weight.shape) for name, linear in family.matrices(layers[0]).items()}
    assert actual == {name: shapes[name] for name in actual}


def test_a_size_that_is_none_is_not_changed(family):
    assert family.size_changes() == {}
    assert list(family.size_changes(heads=2).values()) == [2]


def test_layers_are_in_the_order_that_they_are_computed_in(model, family):
    seen, layers = [], family.layers(model)
    for layer in dict.fromkeys(layers):
        layer.register_forward_hook(lambda module, *_: seen.append(module))
    logits(model, *texts())
    assert seen == layers


def test_states_are_those_of_embeddings_and_layers(model):
    with torch.no_grad():
        states = model(input_ids=texts()[0], output_hidden_states=True).hidden_states
    assert [state.shape for state in states] == [(3, 9, SIZES.hidden_size)] * (SIZES.layers + 1)


@pytest.mark.parametrize("matrix", ["query", "key", "value", "attention_output", "intermediate", "output"])
def test_each_matrix_is_part_of_what_is_computed(model, family, matrix):
    if matrix not in family.matrix_names:
        pytest.skip("the family has none of its own")
    before = logits(model, *texts())
    linear = family.matrices(family.layers(model)[1])[matrix]
    with torch.no_grad():
        linear.weight.copy_(linear.weight.roll(1, dims=0))
    assert (logits(model, *texts()) - before).abs().max() > 1e-3


def test_dropout_is_set_where_it_is_named(build, model, family):
    model = build(**family.dropout_changes(model.config, encoder=0.25, classifier=0.5))
    family.set_head_dropout(model, 0.5)
    rates = {name: module.p for name, module in model.named_modules() if isinstance(module, nn.Dropout)}
    assert {rate for name, rate in rates.items() if family.is_head(model, name)} == {0.5}
    assert {rate for name, rate in rates.items() if not family.is_head(model, name)} == {0.25}


def test_the_longest_text_fits(model, family, kind):
    offset = KINDS[kind].get("position_offset", 0)
    assert family.position_offset(model.config) == offset
    assert family.longest_input(model.config) == POSITIONS - offset
    assert logits(model, *texts(1, POSITIONS - offset)).isfinite().all()


def test_parameters_are_of_the_head_the_layers_or_the_embeddings(model, family):
    depths = {name: family.depth_from_top(model, name) for name, _ in model.named_parameters()}
    names = {parameter: name for name, parameter in model.named_parameters()}
    count = family.distinct_layers(model.config)
    assert set(depths.values()) == set(range(count + 2))
    assert depths[names[family.word_embeddings(model).weight]] == count + 1
    for index, layer in enumerate(dict.fromkeys(family.layers(model))):
        assert {depths[names[parameter]] for parameter in layer.parameters()} == {count - index}
    heads = [parameter for module in family.head_modules(model) for parameter in module.parameters()]
    assert {depths[names[parameter]] for parameter in heads} == {0}


def test_a_parameter_in_no_part_of_the_model_is_refused(model, family, kind):
    if kind in GENERIC:
        pytest.skip("the parts of these are unknown")
    with pytest.raises(ModelError, match=r"adapter\.weight': should be in the embeddings"):
        family.depth_from_top(model, f"{model.base_model_prefix}.adapter.weight")


def test_the_head_is_all_outside_the_encoder(model, family):
    inside = {parameter for module in family.head_modules(model) for parameter in module.parameters()}
    names = {name for name, parameter in model.named_parameters() if parameter in inside}
    assert names == {name for name, _ in model.named_parameters() if family.is_head(model, name)}
    assert inside and inside.isdisjoint(model.base_model.parameters())


def test_names_lead_to_the_layer_and_its_matrix(model, family):
    for index, layer in enumerate(dict.fromkeys(family.layers(model))):
        matrices = family.matrices(layer)
        actual = {matrix_of(name): module for name, module in model.named_modules() if module in matrices.values()}
        assert actual == {(index, name): module for name, module in matrices.items()}
        assert family.within_layer(layer_path(model, family, index) + ".some.part") == (index, "some.part")
    assert family.within_layer("classifier.weight") is None
    assert matrix_of(f"{layer_path(model, family, 0)}.some.part") is None


def test_neurons_that_do_nothing_can_go(model, family):
    if "neurons" not in family.prunes:
        pytest.skip("its neurons cannot be pruned")
    with torch.no_grad():
        for layer in family.layers(model):
            narrow = family.matrices(layer)["output"].weight
            narrow[:, :5] = narrow[:, 15:] = 0.0
    smaller = narrowed(model, [0, 1, 2], None, [torch.arange(5, 15)] * SIZES.layers)
    assert family.sizes(smaller.config).intermediate_size == 10
    torch.testing.assert_close(logits(smaller, *texts()), logits(model, *texts()), rtol=1e-4, atol=1e-4)


def test_heads_that_do_nothing_can_go(model, family):
    if "heads" not in family.prunes:
        pytest.skip("its heads cannot be pruned")
    size = SIZES.head_size
    with torch.no_grad():
        for layer in family.layers(model):
            joined = family.matrices(layer)["attention_output"].weight
            joined[:, :size] = joined[:, 3 * size :] = 0.0
    smaller = narrowed(model, [0, 1, 2], [torch.tensor([1, 2])] * SIZES.layers, None)
    assert family.sizes(smaller.config).heads == 2
    torch.testing.assert_close(logits(smaller, *texts()), logits(model, *texts()), rtol=1e-4, atol=1e-4)


def test_upper_layers_can_go(model, family):
    """A model without its last layer computes what the whole one has before that layer."""
    smaller = narrowed(model, [0, 1], None, None)
    assert family.sizes(smaller.config).layers == len(family.layers(smaller)) == 2
    seen = []
    for one in (model, smaller):
        (layers,) = (family.layers(one),)
        hook = layers[1].register_forward_hook(lambda _, __, output: seen.append(output))
        logits(one, *texts())
        hook.remove()
    first = [output[0] if isinstance(output, tuple) else output for output in (seen[0], seen[-1])]
    if family.distinct_layers(model.config) > 1:
        torch.testing.assert_close(*first)


def test_other_types_must_be_classifiers_with_one_list_of_layers():
    for kind, message in {
        "t5": r"'t5', should have one list of num_hidden_layers=.* layers; its lists: .* of \d+, .* of \d+",
        "clip_text_model": r"'clip_text_model', of which transformers has no sequence classifier",
    }.items():
        with pytest.raises(ModelError, match=message):
            family_of(AutoConfig.for_model(kind))


def test_families_are_known_without_torch():
    code = "import sys, chirplet.model.family; sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_albert_with_several_layers_in_a_group_is_refused():
    config = AutoConfig.for_model("albert", inner_group_num=2)
    with pytest.raises(ModelError, match=r"inner_group_num: got 2, should be 1"):
        family_of(config).sizes(config)
