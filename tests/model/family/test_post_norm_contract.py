"""What the fast forward pass and the graphs need of a family, checked against the models of transformers."""

import pytest
import torch
from torch.nn.functional import gelu

from architectures import KINDS, POST_NORM, SIZES, VOCABULARY, built, logits, texts
from chirplet.model.family import PostNormFamily, family_of
from chirplet.model.fast_forward.encoder import first_token_states
from chirplet.module.classifier import Classifier
from chirplet.module.step.training_module import Optimization
from chirplet.system.error import ModelError
from chirplet.task.single_label import SingleLabel
from no_values import no_values

HEAD_ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu, "gelu": gelu}


@pytest.fixture(params=POST_NORM)
def kind(request):
    return request.param


@pytest.fixture
def model(kind):
    return built(kind)


@pytest.fixture
def family(model):
    return family_of(model)


def padded_states(model, family):
    ids, mask = texts()
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states, ids, mask


def test_a_layer_computes_what_its_parts_do(model, family):
    """The layer of transformers by hand: attention, two residual sums, each normalized."""
    layer = family.layers(model)[1]
    matrices, parts = family.matrices(layer), family.post_norm(layer)
    with torch.no_grad():
        ids, _ = texts(1)
        before, actual = model(input_ids=ids, output_hidden_states=True).hidden_states[1:3]
        query, key, value = (
            matrices[name](before)[0].unflatten(-1, (SIZES.heads, -1)).transpose(0, 1)
            for name in ("query", "key", "value")
        )
        scores = query @ key.transpose(1, 2) / SIZES.head_size**0.5
        bias = family.attention_bias(model, ids.shape[1])
        shares = (scores if bias is None else scores + bias).softmax(-1)
        context = (shares @ value).transpose(0, 1).flatten(1)[None]
        attended = parts.attention_norm(matrices["attention_output"](context) + before)
        neurons = parts.activation(matrices["intermediate"](attended))
        by_hand = parts.output_norm(matrices["output"](neurons) + attended)
    torch.testing.assert_close(actual, by_hand, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_padded_it_reads_nothing_from_the_device(model, family, attention):
    """So that a CUDA graph can record it, forward and backward; packing has to count tokens."""
    model.config._attn_implementation = attention
    with no_values() as device:
        model.to(device)
        ids, mask = (tensor.to(device) for tensor in texts())
        computed = family.head_logits(model, first_token_states(model, ids, mask, packed=False))
        computed.sum().backward()
        assert computed.shape == (len(ids), model.config.num_labels)
        assert all(
            p.grad is not None
            for matrix in family.matrices(family.layers(model)[0]).values()
            for p in matrix.parameters()
        )
        with pytest.raises(NotImplementedError):
            first_token_states(model, ids, mask, packed=True)
        with pytest.raises((NotImplementedError, RuntimeError)):
            bool(computed.sum() > 0)


def test_only_mpnet_has_a_bias_of_positions(model, family, kind):
    bias = family.attention_bias(model, 5)
    assert (bias is not None) == (kind == "mpnet")
    assert bias is None or bias.shape == (SIZES.heads, 5, 5)


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
    if getattr(family.post_norm(layer), dropout) is None:
        pytest.skip("the layer has none")
    matrices = family.matrices(layer)
    for name in ("attention_output", "intermediate"):
        matrices[name].register_forward_pre_hook(lambda _, inputs, name=name: seen.setdefault(name, inputs[0]))
    layers = family.layers(model)
    before, inputs = logits(model, *texts()), dict(seen)
    seen.clear()
    getattr(family.post_norm(layer), dropout).p = 0.5
    layer.train()
    assert (logits(model, *texts()) - before).abs().max() > 1e-3
    if len(set(layers)) == len(layers):
        assert tuple(not torch.equal(seen[name], inputs[name]) for name in inputs) == changed


def test_a_text_longer_than_the_table_of_positions_does_not_fit(model, family):
    longest = family.longest_input(model.config)
    with pytest.raises((IndexError, RuntimeError)):
        logits(model, *texts(1, longest + 1))


def test_the_first_token_has_the_position_of_the_offset(model, family, kind):
    embeddings = family.embeddings(model)
    assert embeddings.position_offset == KINDS[kind].get("position_offset", 0)
    before, width = logits(model, *texts(1, 1)), embeddings.positions.embedding_dim
    with torch.no_grad():
        for row in range(len(embeddings.positions.weight)):
            if row != embeddings.position_offset:
                embeddings.positions.weight[row] += 1.0 + torch.arange(width)
    torch.testing.assert_close(logits(model, *texts(1, 1)), before)
    with torch.no_grad():
        embeddings.positions.weight[embeddings.position_offset] += 1.0 + torch.arange(width)
    assert (logits(model, *texts(1, 1)) - before).abs().max() > 1e-3


def test_embeddings_add_up_to_the_first_layers_states(model, family):
    ids, _ = texts(1)
    parts = family.embeddings(model)
    rows = torch.arange(ids.shape[1]) + parts.position_offset
    with torch.no_grad():
        summed = parts.words(ids) + parts.positions.weight[rows]
        expected = parts.norm(summed if parts.token_type is None else summed + parts.token_type)
        expected = expected if parts.projection is None else parts.projection(expected)
        states = model(input_ids=ids, output_hidden_states=True).hidden_states
    torch.testing.assert_close(states[0], expected, rtol=1e-4, atol=1e-5)
    assert family.word_embeddings(model) is parts.words
    assert len(parts.words.weight) == VOCABULARY


def test_the_head_makes_logits_of_the_first_tokens_state(model, family):
    states, ids, mask = padded_states(model, family)
    first, head = states[-1][:, 0], family.head(model)
    with torch.no_grad():
        torch.testing.assert_close(family.head_logits(model, first), logits(model, ids, mask))
        by_hand = head.output(HEAD_ACTIVATIONS[head.activation](head.dense(first)))
    torch.testing.assert_close(by_hand, logits(model, ids, mask))


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("padding", [False, True])
def test_the_fast_forward_has_the_logits_and_gradients_of_transformers(model, family, packed, padding, attention):
    ids, mask = texts() if padding else texts(1)
    results = []
    for fast in (False, True):
        model.zero_grad()
        if fast:
            model.config._attn_implementation = attention
            actual = family.head_logits(model, first_token_states(model, ids, mask, packed))
        else:
            actual = model(input_ids=ids, attention_mask=mask).logits
        actual.square().sum().backward()
        gradients = {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}
        results.append((actual.detach(), gradients))
    (expected, expected_gradients), (actual, gradients) = results
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)
    assert gradients.keys() == expected_gradients.keys()
    for name, gradient in expected_gradients.items():
        scale = gradient.abs().max().clamp(min=1.0)
        torch.testing.assert_close(gradients[name] / scale, gradient / scale, rtol=1e-4, atol=1e-4, msg=name)


@pytest.mark.parametrize(("kind", "fast"), [("bert", True), ("mpnet", True), ("deberta-v2", False), ("ernie", False)])
def test_without_a_fast_forward_transformers_computes_it(kind, fast):
    model = built(kind)
    optimization = Optimization([], "constant", 0.0, 1)
    module = Classifier(model, SingleLabel(), tuple("abcde"), optimization, 0.0, None, "packed")
    assert (module.fast_family is not None, module.leaves_unused) == (fast, not fast)
    ids, mask = texts()
    torch.testing.assert_close(module({"input_ids": ids, "attention_mask": mask}), logits(model, ids, mask))
    if not fast:
        assert not isinstance(family_of(model), PostNormFamily)
        with pytest.raises(ModelError, match=f"no fast forward pass supports models of type '{kind}'"):
            first_token_states(model, ids, mask)
