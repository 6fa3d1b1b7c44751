"""Every family is checked against the models of transformers. A new family adds its line to `KINDS`."""

import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn.functional import gelu
from transformers import AutoConfig, AutoModelForSequenceClassification

from chirplet.model.family import FAMILIES, family_named, family_of, matrix_of
from chirplet.model.family.base import Sizes
from chirplet.model.fast_forward.encoder import first_token_states
from chirplet.model.structure.narrowing import narrowed
from chirplet.module.classifier import Classifier, Optimization
from chirplet.quantizer.graph.onnx import Arithmetic, classifier_graph, layer_names
from chirplet.system.error import ModelError
from chirplet.task.single_label import SingleLabel

SIZES = Sizes(layers=3, hidden_size=24, heads=4, intermediate_size=40)
POSITIONS, VOCABULARY, PADDING = 20, 50, 3

KINDS = {
    "bert": {"position_offset": 0},
    "camembert": {"position_offset": PADDING + 1},
    "roberta": {"position_offset": PADDING + 1},
    "xlm-roberta": {"position_offset": PADDING + 1},
}


def test_every_family_is_here():
    assert KINDS.keys() == FAMILIES.keys()


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def family(kind):
    return family_named(kind)


@pytest.fixture
def build(kind, family):
    """Builds a model with weights so large that logits are far off where a part is missing or another."""

    def made(**changes):
        sizes = family.size_changes(SIZES.layers, SIZES.hidden_size, SIZES.heads, SIZES.intermediate_size)
        settings = sizes | family.dropout_changes(encoder=0.0, classifier=0.0) | {family.names.positions: POSITIONS}
        config = AutoConfig.for_model(
            kind, vocab_size=VOCABULARY, num_labels=5, pad_token_id=PADDING, **(settings | changes)
        )
        model = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager").eval()
        random = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.2 * torch.randn(parameter.shape, generator=random)
        return model

    return made


@pytest.fixture
def model(build):
    return build()


def texts(rows=3, tokens=9):
    """Token ids and mask, the second row shorter."""
    ids = torch.randint(PADDING + 1, VOCABULARY, (rows, tokens), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    if rows > 1:
        ids[1, tokens // 2 :], mask[1, tokens // 2 :] = PADDING, 0
    return ids, mask


def logits(model, ids, mask):
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=mask).logits


def test_is_that_of_the_model_and_of_its_configuration(model, family):
    assert family_of(model) is family_of(model.config) is family


def test_sizes_are_those_of_the_model(model, family):
    assert family.sizes(model.config) == SIZES
    assert SIZES.head_size == 6
    layers = family.layers(model)
    assert isinstance(layers, nn.ModuleList) and len(layers) == SIZES.layers
    wide, narrow = (SIZES.intermediate_size, SIZES.hidden_size), (SIZES.hidden_size, SIZES.hidden_size)
    shapes = {name: tuple(linear.weight.shape) for name, linear in vars(family.matrices(layers[0])).items()}
    assert shapes == {
        "query": narrow,
        "key": narrow,
        "value": narrow,
        "attention_output": narrow,
        "intermediate": wide,
        "output": wide[::-1],
    }


def test_a_size_that_is_none_is_not_changed(family):
    assert family.size_changes() == {}
    assert list(family.size_changes(heads=2).values()) == [2]


def test_layers_are_in_the_order_that_they_are_computed_in(model, family):
    seen = []
    for index, layer in enumerate(family.layers(model)):
        layer.register_forward_hook(lambda *_, index=index: seen.append(index))
    logits(model, *texts())
    assert seen == [0, 1, 2]


@pytest.mark.parametrize("matrix", ["query", "key", "value", "attention_output", "intermediate", "output"])
def test_each_matrix_is_part_of_what_is_computed(model, family, matrix):
    before = logits(model, *texts())
    linear = getattr(family.matrices(family.layers(model)[1]), matrix)
    with torch.no_grad():
        linear.weight.copy_(linear.weight.roll(1, dims=0))
    assert (logits(model, *texts()) - before).abs().max() > 1e-3


def test_a_layer_computes_what_its_parts_do(model, family):
    """The layer of transformers by hand: attention, two residual sums, each normalised."""
    if not (family.fast_forward or family.writes_graph):
        pytest.skip("only these need the parts")
    layer = family.layers(model)[1]
    matrices, parts = family.matrices(layer), family.post_norm(layer)
    states = torch.randn(1, 7, SIZES.hidden_size, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        query, key, value = (
            project(states)[0].unflatten(-1, (SIZES.heads, -1)).transpose(0, 1)
            for project in (matrices.query, matrices.key, matrices.value)
        )
        shares = (query @ key.transpose(1, 2) / SIZES.head_size**0.5).softmax(-1)
        context = (shares @ value).transpose(0, 1).flatten(1)[None]
        attended = parts.attention_norm(matrices.attention_output(context) + states)
        intermediate_size = matrices.output(parts.activation(matrices.intermediate(attended)))
        by_hand = parts.output_norm(intermediate_size + attended)
        actual = layer(states)
    torch.testing.assert_close(actual[0] if isinstance(actual, tuple) else actual, by_hand, rtol=1e-4, atol=1e-4)
    assert family.activation(model.config) == "gelu"
    torch.testing.assert_close(parts.activation(states), gelu(states))


def test_dropout_is_set_where_it_is_named(build, family):
    model = build(**family.dropout_changes(encoder=0.25, classifier=0.5))
    rates = {name: module.p for name, module in model.named_modules() if isinstance(module, nn.Dropout)}
    assert {rate for name, rate in rates.items() if family.is_head(model, name)} == {0.5}
    assert {rate for name, rate in rates.items() if not family.is_head(model, name)} == {0.25}
    assert family.embeddings(model).dropout.p == 0.25
    parts = family.post_norm(family.layers(model)[0])
    dropouts = {parts.attention_dropout, parts.attention_output_dropout, parts.output_dropout}
    assert len(dropouts) == 3 and dropouts <= set(family.layers(model)[0].modules())


@pytest.mark.parametrize(
    ("dropout", "changed"),
    [
        ("attention_dropout", (True, True)),
        ("attention_output_dropout", (False, True)),
        ("output_dropout", (False, False)),
    ],
)
def test_each_dropout_is_where_it_should_be(model, family, dropout, changed):
    """Which inputs of the same layer's matrices it changes: of `attention_output` and `intermediate`."""
    layer, seen = family.layers(model)[1], {}
    matrices = family.matrices(layer)
    for name in ("attention_output", "intermediate"):
        getattr(matrices, name).register_forward_pre_hook(lambda _, inputs, name=name: seen.update({name: inputs[0]}))
    before, inputs = logits(model, *texts()), dict(seen)
    getattr(family.post_norm(layer), dropout).p = 0.5
    layer.train()
    assert (logits(model, *texts()) - before).abs().max() > 1e-3
    assert tuple(not torch.equal(seen[name], inputs[name]) for name in ("attention_output", "intermediate")) == changed


def layer_path(model, family, index):
    return f"{model.base_model_prefix}.{family.layers_name}.{index}"


def test_the_longest_text_fits_and_a_longer_one_does_not(model, family, kind):
    offset = KINDS[kind]["position_offset"]
    assert family.position_offset(model.config) == family.embeddings(model).position_offset == offset
    assert family.longest_input(model.config) == POSITIONS - offset
    assert logits(model, *texts(1, POSITIONS - offset)).isfinite().all()
    with pytest.raises((IndexError, RuntimeError)):
        logits(model, *texts(1, POSITIONS - offset + 1))


def test_the_first_token_has_the_position_of_the_offset(model, family):
    embeddings = family.embeddings(model)
    before = logits(model, *texts(1, 1))
    with torch.no_grad():
        for row in range(POSITIONS):
            if row != embeddings.position_offset:
                embeddings.positions.weight[row] += 1.0 + torch.arange(SIZES.hidden_size)
    torch.testing.assert_close(logits(model, *texts(1, 1)), before)
    with torch.no_grad():
        embeddings.positions.weight[embeddings.position_offset] += 1.0 + torch.arange(SIZES.hidden_size)
    assert (logits(model, *texts(1, 1)) - before).abs().max() > 1e-3


def test_embeddings_add_up_to_the_first_layers_states(model, family):
    ids, mask = texts(1)
    parts = family.embeddings(model)
    rows = torch.arange(ids.shape[1]) + parts.position_offset
    with torch.no_grad():
        summed = parts.words(ids) + parts.positions.weight[rows] + parts.token_type
        expected = parts.norm(summed)
        states = model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
    torch.testing.assert_close(states[0], expected, rtol=1e-4, atol=1e-5)
    assert family.word_embeddings(model) is parts.words
    assert parts.words.weight.shape == (VOCABULARY, SIZES.hidden_size)


def test_the_head_makes_logits_of_the_first_tokens_state(model, family):
    ids, mask = texts()
    with torch.no_grad():
        output = model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        first = output.hidden_states[-1][:, 0]
        head = family.head(model)
        torch.testing.assert_close(family.head_logits(model, first), output.logits)
        torch.testing.assert_close(head.output(head.dense(first).tanh()), output.logits)


def test_parameters_are_of_the_head_the_layers_or_the_embeddings(model, family):
    depths = {name: family.depth_from_top(model, name) for name, _ in model.named_parameters()}
    parts = {0: [], 4: list(family.embeddings(model).words.parameters())}
    head = family.head(model)
    parts[0] = [*head.dense.parameters(), *head.output.parameters()]
    parts |= {3 - index: list(layer.parameters()) for index, layer in enumerate(family.layers(model))}
    for depth, expected in parts.items():
        actual = {parameter for name, parameter in model.named_parameters() if depths[name] == depth}
        assert actual >= set(expected)
        assert depth not in (1, 2, 3, 0) or actual == set(expected), depth
    with pytest.raises(ModelError, match=r"adapter\.weight': should be in the embeddings"):
        family.depth_from_top(model, f"{model.base_model_prefix}.adapter.weight")


def test_the_head_is_all_outside_the_encoder(model, family):
    inside = {parameter for module in family.head_modules(model) for parameter in module.parameters()}
    names = {name for name, parameter in model.named_parameters() if parameter in inside}
    assert names == {name for name, _ in model.named_parameters() if family.is_head(model, name)}
    assert set(family.head(model).output.parameters()) <= inside
    assert inside.isdisjoint(model.base_model.parameters())


def test_names_lead_to_the_layer_and_its_matrix(model, family):
    for index, layer in enumerate(family.layers(model)):
        matrices = family.matrices(layer)
        actual = {
            matrix_of(name): module for name, module in model.named_modules() if module in set(vars(matrices).values())
        }
        assert actual == {(index, name): module for name, module in vars(matrices).items()}
        assert family.within_layer(layer_path(model, family, index) + ".some.part") == (index, "some.part")
    assert family.within_layer("classifier.weight") is None
    assert matrix_of(f"{layer_path(model, family, 0)}.some.part") is None


@pytest.mark.parametrize("packed", [False, True])
def test_the_fast_forward_computes_what_transformers_computes(model, family, packed):
    if not family.fast_forward:
        pytest.skip("transformers computes it")
    ids, mask = texts()
    with torch.no_grad():
        actual = family.head_logits(model, first_token_states(model, ids, mask, packed))
    torch.testing.assert_close(actual, logits(model, ids, mask), rtol=1e-4, atol=1e-4)


def test_without_a_fast_forward_transformers_computes_it(model, family, monkeypatch):
    optimization = Optimization([], "constant", 0.0, 1)

    def module():
        return Classifier(model, SingleLabel(), tuple("abcde"), optimization, 0.0, None, "packed")

    assert (module().encoder, module().leaves_unused) == ("packed", False)
    monkeypatch.setattr(family, "fast_forward", False, raising=False)
    assert (module().encoder, module().leaves_unused) == ("transformers", True)


def test_the_graph_computes_what_transformers_computes(model, family):
    if not family.writes_graph:
        pytest.skip("no graph of it")
    ids, mask = texts()
    graph = classifier_graph(model, Arithmetic(), {}).SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    (actual,) = session.run(["logits"], {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})
    np.testing.assert_allclose(actual, logits(model, ids, mask).numpy(), rtol=1e-4, atol=1e-4)
    # Six matrices a layer, two of the head, two tables.
    assert len(layer_names(model)) == 6 * SIZES.layers + 4


def test_heads_and_neurons_that_do_nothing_can_go(model, family):
    if not family.prunes_heads:
        pytest.skip("its heads cannot be pruned")
    layers, size = range(SIZES.layers), SIZES.head_size
    heads, neurons = [torch.tensor([1, 2])] * SIZES.layers, [torch.arange(5, 15)] * SIZES.layers
    with torch.no_grad():
        for layer in family.layers(model):
            matrices = family.matrices(layer)
            matrices.attention_output.weight[:, :size] = matrices.attention_output.weight[:, 3 * size :] = 0.0
            matrices.output.weight[:, :5] = matrices.output.weight[:, 15:] = 0.0
    smaller = narrowed(model, list(layers), heads, neurons)
    assert family.sizes(smaller.config) == Sizes(layers=3, hidden_size=24, heads=2, intermediate_size=10)
    torch.testing.assert_close(logits(smaller, *texts()), logits(model, *texts()), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("model_type", ["distilbert", None, ["bert"]])
def test_an_unknown_model_type_is_refused(model_type):
    with pytest.raises(ModelError) as error:
        family_named(model_type)
    assert str(error.value) == (
        f"config.json: got model_type {model_type!r}, should be one of bert, camembert, roberta, xlm-roberta"
    )


def test_families_are_known_without_torch():
    code = "import sys, chirplet.model.family; sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
