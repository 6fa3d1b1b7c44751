"""The contract of distillers. A new one adds its name."""

from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from chirplet.config.schema import bind
from chirplet.distiller.base import Distiller
from chirplet.distiller.loss.losses import observe
from chirplet.system.error import ConfigError
from chirplet.task.single_label import SingleLabel
from places import CONF

NAMES = ("logits", "hidden", "attention")
pytestmark = pytest.mark.parametrize("name", NAMES)


def make(name: str, **changes) -> Distiller:
    """The distiller of its YAML file."""
    from omegaconf import OmegaConf

    plain = OmegaConf.to_container(OmegaConf.load(CONF / "distiller" / f"{name}.yaml"))
    return bind({name: plain[name] | changes})[name]


def bert(layers: int = 2, width: int = 16, heads: int = 4, seed: int = 0) -> BertForSequenceClassification:
    sizes = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
    config = BertConfig(vocab_size=50, intermediate_size=32, num_labels=3, **sizes)
    torch.manual_seed(seed)
    model = BertForSequenceClassification(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)  # as it starts, a random encoder sees all tokens alike
    return model


def batch(padding: int = 0) -> dict[str, torch.Tensor]:
    """Three texts of 7, 4 and 2 tokens, with so many columns of padding more."""
    lengths = torch.tensor([7, 4, 2])
    mask = (torch.arange(7 + padding) < lengths[:, None]).long()
    ids = torch.randint(1, 50, (3, 7), generator=torch.Generator().manual_seed(3))
    return {"input_ids": torch.nn.functional.pad(ids, (0, padding)) * mask, "attention_mask": mask}


def value(distiller: Distiller, student, teacher, examples) -> torch.Tensor:
    torch.manual_seed(0)  # of a projection
    loss = distiller.imitation(SingleLabel(), student.config, teacher.config)
    with torch.no_grad():
        teacher_signals = observe(teacher, examples)
    return loss(observe(student, examples), teacher_signals, examples["attention_mask"])


def test_it_is_configured_by_its_file(name):
    assert (CONF / "distiller" / f"{name}.yaml").is_file()
    assert sorted(path.stem for path in Path(CONF / "distiller").glob("*.yaml")) == sorted(NAMES)
    assert type(make(name)).__module__ == f"chirplet.distiller.{name}"


def test_a_student_equal_to_its_teacher_has_no_loss(name):
    model = bert()
    loss = value(make(name), model, model, batch())
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    assert all(weight.grad is None or weight.grad.abs().max() < 1e-5 for weight in model.parameters())


def test_a_student_that_differs_learns_and_the_teacher_does_not(name):
    student, teacher, distiller = bert(seed=1), bert(), make(name)
    optimizer = torch.optim.AdamW(student.parameters(), lr=3e-3)
    values = []
    for _ in range(30):
        loss = value(distiller, student, teacher, batch())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[0] > 0
    assert values[-1] < 0.5 * values[0]
    assert all(weight.grad is None for weight in teacher.parameters())


def test_padding_makes_no_difference(name):
    student, teacher = bert(seed=1), bert()
    short, long = (value(make(name), student, teacher, batch(padding)).item() for padding in (0, 9))
    assert short == pytest.approx(long, rel=1e-4)


def test_depth_and_width_may_differ(name):
    loss = value(make(name), bert(layers=3, width=8, heads=2, seed=1), bert(layers=6), batch())
    assert torch.isfinite(loss)
    assert loss > 0


@pytest.mark.parametrize("weight", [0.0, -1.0, "much"])
def test_its_weight_is_positive(name, weight):
    with pytest.raises(ConfigError, match=rf"{name}\.weight: got"):
        make(name, weight=weight)


def test_looks_inside_is_whether_both_need_the_same_tokens(name):
    assert make(name).looks_inside is (name != "logits")
