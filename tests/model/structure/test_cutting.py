"""A model cut down: what is kept is what was there."""

import pytest
import torch
from transformers import AutoModelForSequenceClassification, BertConfig, BertForSequenceClassification

from chirplet.config.schema import validate
from chirplet.model.structure.cutting import Cut, cut_down
from chirplet.system.error import ConfigError


def cut(**changes) -> Cut:
    return validate(
        Cut,
        {"layers": "lower", "num_layers": None, "intermediate_size": None, "pretrained": True} | changes,
        "stage.cut",
    )


@pytest.fixture
def whole() -> BertForSequenceClassification:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 6, "num_attention_heads": 2, "intermediate_size": 24}
    return BertForSequenceClassification(BertConfig(vocab_size=30, num_labels=3, **sizes)).eval()


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, [0, 1, 2]),
        ({"num_layers": 2}, [0, 1]),
        ({"layers": "even", "num_layers": 3}, [0, 2, 5]),
        ({"layers": "even", "num_layers": 2}, [0, 5]),
        ({"layers": "even", "num_layers": 1}, [0]),
        ({"layers": "even", "num_layers": 6}, [0, 1, 2, 3, 4, 5]),
        ({"layers": [1, 4]}, [1, 4]),
    ],
)
def test_the_layers_kept_are_those_of_the_teacher_and_the_rest_is_copied(whole, changes, kept):
    student = cut_down(whole, cut(**changes), seed=0)
    own, theirs = student.state_dict(), whole.state_dict()
    assert student.config.num_hidden_layers == len(student.bert.encoder.layer) == len(kept)
    for name, tensor in own.items():
        if "encoder.layer." in name:
            _, _, rest = name.partition("encoder.layer.")
            place, _, rest = rest.partition(".")
            name = f"bert.encoder.layer.{kept[int(place)]}.{rest}"
        torch.testing.assert_close(tensor, theirs[name], rtol=0, atol=0)
    assert whole.config.num_hidden_layers == 6


def test_the_units_that_do_nothing_go_first(whole):
    """Eight units whose output weights are 0: without them the model says the same."""
    with torch.no_grad():
        for layer in whole.bert.encoder.layer:
            layer.output.dense.weight[:, 3:11] = 0
    student = cut_down(whole, cut(num_layers=6, intermediate_size=16), seed=0)
    ids = torch.randint(1, 30, (2, 7))
    torch.testing.assert_close(student(ids).logits, whole(ids).logits)


def test_a_cut_model_opens_again_as_it_was_saved(whole, tmp_path):
    student = cut_down(whole, cut(num_layers=2, intermediate_size=8), seed=0)
    student.save_pretrained(tmp_path)
    opened = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    ids = torch.randint(1, 30, (2, 7))
    torch.testing.assert_close(opened(ids).logits, student(ids).logits)
    assert opened.config.intermediate_size == 8


def test_random_weights_have_the_shape_and_nothing_else_of_the_teacher(whole):
    before = torch.get_rng_state()
    one, again = (cut_down(whole, cut(pretrained=False), seed=3) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    words = [model.get_input_embeddings().weight for model in (one, again, whole)]
    assert torch.equal(words[0], words[1])
    assert not torch.isclose(words[0], words[2]).all()


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"num_layers": 7}, "stage.cut.num_layers: got 7, should be at most 6"),
        ({"layers": [0, 6]}, r"stage.cut.layers: got \[0, 6\], should be less than 6"),
        ({"intermediate_size": 25}, "stage.cut.intermediate_size: got 25, should be at most 24"),
        ({"layers": [2, 0]}, r"stage.cut.layers: got \[2, 0\], should be in ascending order"),
        ({"layers": [0], "num_layers": 1}, "stage.cut.num_layers: got 1, should be null where layers are named"),
        ({"layers": "upper"}, "stage.cut.layers: got 'upper', should be 'lower' or 'even'"),
    ],
)
def test_what_cannot_be_kept_is_told(whole, changes, line):
    with pytest.raises(ConfigError, match=line):
        cut_down(whole, cut(**changes), seed=0)
