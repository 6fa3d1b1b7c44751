"""A student cut from its teacher has the teacher's weights."""

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
def teacher() -> BertForSequenceClassification:
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
def test_the_layers_kept_are_those_of_the_teacher_and_the_rest_is_copied(teacher, changes, kept):
    student = cut_down(teacher, cut(**changes), seed=0)
    weights, teacher_weights = student.state_dict(), teacher.state_dict()
    assert student.config.num_hidden_layers == len(student.bert.encoder.layer) == len(kept)
    for name, tensor in weights.items():
        if "encoder.layer." in name:
            _, _, rest = name.partition("encoder.layer.")
            index, _, rest = rest.partition(".")
            name = f"bert.encoder.layer.{kept[int(index)]}.{rest}"
        torch.testing.assert_close(tensor, teacher_weights[name], rtol=0, atol=0)
    assert teacher.config.num_hidden_layers == 6


def test_neurons_without_effect_are_removed_first(teacher):
    """Without eight neurons whose output weights are 0 the model has the same logits."""
    with torch.no_grad():
        for layer in teacher.bert.encoder.layer:
            layer.output.dense.weight[:, 3:11] = 0
    student = cut_down(teacher, cut(num_layers=6, intermediate_size=16), seed=0)
    ids = torch.randint(1, 30, (2, 7))
    torch.testing.assert_close(student(ids).logits, teacher(ids).logits)


def test_a_cut_model_opens_again_as_it_was_saved(teacher, tmp_path):
    student = cut_down(teacher, cut(num_layers=2, intermediate_size=8), seed=0)
    student.save_pretrained(tmp_path)
    opened = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    ids = torch.randint(1, 30, (2, 7))
    torch.testing.assert_close(opened(ids).logits, student(ids).logits)
    assert opened.config.intermediate_size == 8


def test_random_weights_have_the_shape_and_nothing_else_of_the_teacher(teacher):
    before = torch.get_rng_state()
    one, again = (cut_down(teacher, cut(pretrained=False), seed=3) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    words = [model.get_input_embeddings().weight for model in (one, again, teacher)]
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
def test_invalid_cuts_raise(teacher, changes, line):
    with pytest.raises(ConfigError, match=line):
        cut_down(teacher, cut(**changes), seed=0)
