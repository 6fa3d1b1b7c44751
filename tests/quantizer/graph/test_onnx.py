"""The graph written by hand computes what `transformers` computes."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from checkpoints import tiny_bert, tiny_roberta
from chirplet.model.family import family_of
from chirplet.model.structure.narrowing import narrowed
from chirplet.quantizer.graph.of_model import fewest_inputs
from chirplet.quantizer.graph.onnx import Arithmetic, classifier_graph, layer_names, post_norm_family
from chirplet.quantizer.graph.onnx_int8_nodes import Int8, column_scales, rounded
from chirplet.system.error import QuantizationError


@pytest.fixture(params=[tiny_bert, tiny_roberta])
def model(request, tmp_path):
    """Weights and biases so large that logits are far off where any of them is missing or in the wrong place."""
    made = AutoModelForSequenceClassification.from_pretrained(request.param(tmp_path), num_labels=3).eval()
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=random)
    return made


def rectangle(model, batch, tokens, seed=0):
    random = np.random.default_rng(seed)
    ids = random.integers(5, 100, size=(batch, tokens))
    lengths = random.integers(1, tokens + 1, size=batch)
    lengths[0] = tokens
    mask = (np.arange(tokens) < lengths[:, None]).astype(np.int64)
    ids[mask == 0] = model.config.pad_token_id
    return ids, mask


def answers(graph, ids, mask):
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"input_ids": ids, "attention_mask": mask})[0]


def expected(model, ids, mask):
    with torch.inference_mode():
        return model(input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask)).logits.numpy()


class Unrounded(Int8):
    """The nodes of int8 with all layers excluded, without rounding their weights."""

    def __init__(self, model):
        super().__init__(layer_names(model), 127)

    stored, rows = Arithmetic.stored, Arithmetic.rows


@pytest.fixture(params=[lambda model: Arithmetic(), Unrounded], ids=["fp32", "unrounded"])
def arithmetic(request, model):
    return request.param(model)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (5, 17)])
def test_logits_are_those_of_transformers(model, arithmetic, shape):
    ids, mask = rectangle(model, *shape)
    graph = classifier_graph(model, arithmetic, {})
    onnx.checker.check_model(graph)
    np.testing.assert_allclose(answers(graph, ids, mask), expected(model, ids, mask), atol=1e-4)


@pytest.mark.parametrize("part", ["query.weight", "query.bias", "key.weight", "value.weight", "value.bias"])
def test_logits_are_far_off_where_attention_is_otherwise(model, part):
    """What the comparisons here rest on."""
    ids, mask = rectangle(model, 5, 17)
    before = expected(model, ids, mask)
    for layer in family_of(model).layers(model):
        parameter = layer.attention.self.get_parameter(part)
        parameter.data = parameter.roll(parameter.shape[0] // 2, dims=0)
        assert np.abs(expected(model, ids, mask) - before).max() > 0.01
        before = expected(model, ids, mask)


def with_fewer_heads(model):
    """Half of the heads; the second layer is full again, as it would be where nothing was emptied."""
    layers, heads = model.config.num_hidden_layers, model.config.num_attention_heads
    excluded = [torch.arange(heads // 2)] * layers
    smaller = narrowed(model, list(range(layers)), excluded, [torch.arange(model.config.intermediate_size)] * layers)
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in family_of(smaller).layers(smaller)[1].attention.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=random)
    return smaller


def test_rows_of_attention_that_pruning_has_emptied_are_not_computed(model, arithmetic):
    smaller, width = with_fewer_heads(model), model.config.hidden_size
    ids, mask = rectangle(model, 3, 11)
    graph = classifier_graph(smaller, arithmetic, {})
    np.testing.assert_allclose(answers(graph, ids, mask), expected(smaller, ids, mask), atol=1e-4)
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.graph.initializer}
    name = next(name for name in shapes if name.endswith("layer.0.attention.self.query.weight"))
    assert shapes[name] == (width, width // 2)
    assert fewest_inputs(smaller) == width // 2 and fewest_inputs(model) == width


def test_excluded_layers_differ_by_the_rounding_of_their_weights_alone(model):
    ids, mask = rectangle(model, 4, 12)
    exact = answers(classifier_graph(model, Arithmetic(), {}), ids, mask)
    excluded = answers(classifier_graph(model, Int8(layer_names(model), 127), {}), ids, mask)
    assert 0 < np.abs(excluded - exact).max() < 0.05 * np.abs(exact).max()


def test_a_column_that_stands_out_in_all_positions_takes_no_steps_of_the_others(model):
    table = model.base_model.embeddings.position_embeddings.weight
    with torch.no_grad():
        table[:, 0] += 40 * table.abs().max()
    ids, mask = rectangle(model, 4, 12)
    exact = answers(classifier_graph(model, Arithmetic(), {}), ids, mask)
    others = [name for name in layer_names(model) if "position" not in name]
    rounded = answers(classifier_graph(model, Int8(others, 127), {}), ids, mask)
    every = answers(classifier_graph(model, Int8(layer_names(model), 127), {}), ids, mask)
    spread = np.ptp(exact, axis=0).max()
    assert np.abs(rounded - every).max() < 0.05 * spread


def test_a_row_that_is_large_as_a_whole_does_not_set_the_scales_of_columns():
    table = np.random.default_rng(0).normal(size=(200, 64)).astype(np.float32)
    plain = column_scales(table)
    assert plain.shape == (1, 64)
    table[3] *= 40
    np.testing.assert_allclose(column_scales(table), plain, rtol=1e-6)


def test_an_unknown_activation_is_refused(model):
    model.config.hidden_act = "xielu"
    with pytest.raises(QuantizationError) as error:
        classifier_graph(model, Arithmetic(), {})
    kind = model.config.model_type
    assert str(error.value).startswith(
        f"quantizer: got a model of type {kind!r} with hidden_act='xielu', should be one of"
    )
    assert str(error.value).endswith("quantizer=torch_int8 and quantizer=bf16 take any")


def test_a_family_without_a_graph_written_by_hand_is_refused():
    with pytest.raises(QuantizationError, match="'deberta-v2', whose graph is exported instead"):
        post_norm_family(AutoConfig.for_model("deberta-v2"))


def test_rounding_by_hand():
    whole, scale = rounded(np.array([[1.0, -0.26], [0.0, 0.0]], np.float32), 4, axis=1)
    np.testing.assert_array_equal(whole, [[4, -1], [0, 0]])
    assert scale[0, 0] == np.float32(0.25) and scale.shape == (2, 1)
