"""What only some families have in the graph written by hand: activations, shared layers, a bias by position."""

import numpy as np
import onnxruntime
import pytest

from chirplet.model.family import family_of
from chirplet.quantizer.graph.activation import ACTIVATIONS
from chirplet.quantizer.graph.arithmetic import Arithmetic, relative_table
from chirplet.quantizer.graph.onnx import classifier_graph, layer_names
from chirplet.quantizer.graph.onnx_int8_nodes import Int8
from tiny_encoders import logits_of, rectangle, tiny_encoder


def answers(graph, ids, mask):
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})[0]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("tolerance", [0.0, 0.1])
def test_every_activation_is_that_of_transformers(activation, tolerance):
    model = tiny_encoder("bert", hidden_act=activation)
    ids, mask = rectangle(3, 11)
    spread = np.ptp(logits_of(model, ids, mask).numpy())
    arithmetic = Int8((), 127) if tolerance else Arithmetic()
    actual = answers(classifier_graph(model, arithmetic, {}), ids, mask)
    np.testing.assert_allclose(actual, logits_of(model, ids, mask).numpy(), atol=tolerance * spread or 1e-4)


def test_heads_have_their_own_activation():
    """DistilBERT's head has ReLU, whatever the activation of its layers is."""
    model = tiny_encoder("distilbert", activation="gelu_new")
    ids, mask = rectangle(3, 11)
    actual = answers(classifier_graph(model, Arithmetic(), {}), ids, mask)
    np.testing.assert_allclose(actual, logits_of(model, ids, mask).numpy(), atol=1e-4)


@pytest.mark.parametrize("groups", [1, 2, 3])
@pytest.mark.parametrize("layers", [1, 3])
def test_layers_that_share_weights_are_computed_each(groups, layers):
    model = tiny_encoder("albert", num_hidden_groups=min(groups, layers), num_hidden_layers=layers)
    ids, mask = rectangle(3, 11)
    for arithmetic in (Arithmetic(), Int8(layer_names(model), 127), Int8((), 127)):
        tolerance = 1e-4 if type(arithmetic) is Arithmetic else 0.1 * np.ptp(logits_of(model, ids, mask).numpy())
        actual = answers(classifier_graph(model, arithmetic, {}), ids, mask)
        np.testing.assert_allclose(actual, logits_of(model, ids, mask).numpy(), atol=tolerance)


def test_a_bias_by_relative_position_has_a_small_table():
    model = tiny_encoder("mpnet")
    bias = family_of(model).attention_bias(model, 38).detach().numpy()
    table = relative_table(bias)
    assert table.shape == (4, 75)
    for query, key in ((0, 0), (0, 37), (37, 0), (20, 5), (5, 20)):
        np.testing.assert_array_equal(table[:, 37 + key - query], bias[:, query, key])
