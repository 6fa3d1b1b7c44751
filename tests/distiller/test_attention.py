"""Invalid relations between two models."""

import pytest
from transformers import AutoConfig, BertConfig

from chirplet.distiller.attention import Attention
from chirplet.system.error import ConfigError


def attention(**changes) -> Attention:
    return Attention(**({"weight": 1.0, "relations": ["qk"], "teacher_layer": None, "heads": None} | changes))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"teacher_layer": 2}, "distiller.attention.teacher_layer: got 2, should be less than 2"),
        ({"heads": 5}, "distiller.attention.heads: got 5, should divide the teacher's hidden size 48"),
        ({"heads": 3}, "distiller.attention.heads: got 3, should divide the student's hidden size 32"),
    ],
)
def test_invalid_relations_raise(changes, line):
    teacher = BertConfig(hidden_size=48, num_hidden_layers=2, num_attention_heads=4)
    student = BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=4)
    with pytest.raises(ConfigError) as caught:
        attention(**changes).check(student, teacher)
    assert str(caught.value).startswith(line)


@pytest.mark.parametrize("kind", ["modernbert", "ernie"])
def test_a_family_without_separate_projections_is_refused(kind):
    other = AutoConfig.for_model(kind, hidden_size=48, num_hidden_layers=2, num_attention_heads=4)
    bert = BertConfig(hidden_size=48, num_hidden_layers=2, num_attention_heads=4)
    for student, teacher, whose in ((other, bert, "student"), (bert, other, "teacher")):
        line = f"no separate key, query matrices in a model of type '{kind}', the {whose}'s; should be hidden or logits"
        with pytest.raises(ConfigError, match=line):
            attention().check(student, teacher)
