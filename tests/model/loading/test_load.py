import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, PreTrainedModel, T5Config

from checkpoints import TEXTS, change_config, settings_of
from chirplet.model.family import family_of
from chirplet.model.loading.load import load_model, load_tokenizer
from chirplet.model.pretrained import Shape
from chirplet.system.error import ModelError

LABELS = ["negative", "neutral", "positive"]
CopyOf = Callable[[str], Path]


def logits_of(model: PreTrainedModel, folder: Path) -> torch.Tensor:
    batch = load_tokenizer(settings_of(folder))(TEXTS[:4], padding=True, return_tensors="pt")
    with torch.no_grad():
        logits: torch.Tensor = model(**batch).logits
    return logits


def same_weights(first: PreTrainedModel, second: PreTrainedModel) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


def classifier(folder: Path, into: Path, labels: list[str]) -> Path:
    """A checkpoint with a classification head."""
    load_model(settings_of(folder), labels, seed=5).model.save_pretrained(into)
    return into


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_the_encoder_is_the_checkpoint_s(checkpoint: Path) -> None:
    model = load_model(settings_of(checkpoint), LABELS, seed=0).model
    stored = load_file(checkpoint / "model.safetensors")
    prefix = f"{model.base_model_prefix}."
    compared = 0
    for name, weight in model.state_dict().items():
        if not family_of(model).is_head(model, name) and ".pooler." not in name:
            actual = stored[name] if name in stored else stored[name.removeprefix(prefix)]
            assert torch.equal(weight, actual), name
            compared += 1
    assert compared == 5 + 2 * 16


def test_random_weights_may_have_another_shape(checkpoint: Path) -> None:
    shape = Shape(layers=1, hidden_size=24, heads=3, intermediate_size=40)
    model = load_model(settings_of(checkpoint, pretrained=False, shape=shape), LABELS, seed=0).model
    config = model.config
    actual = (config.num_hidden_layers, config.hidden_size, config.num_attention_heads, config.intermediate_size)
    assert actual == (1, 24, 3, 40)
    odd = settings_of(checkpoint, pretrained=False, shape=Shape(hidden_size=25, heads=3))
    with pytest.raises(
        ModelError, match=r"model.shape.hidden_size: got 25, should be a multiple of its 3 model.shape.heads"
    ):
        load_model(odd, LABELS, seed=0)


def test_is_set_up_as_configured(checkpoint: Path) -> None:
    settings = settings_of(checkpoint, dropout=0.25, classifier_dropout=0.5, attention="sdpa")
    model = load_model(settings, LABELS, seed=0).model
    config = model.config
    assert config.id2label == {0: "negative", 1: "neutral", 2: "positive"}
    assert config.label2id == {"negative": 0, "neutral": 1, "positive": 2}
    assert (config.hidden_dropout_prob, config.attention_probs_dropout_prob) == (0.25, 0.25)
    assert config.classifier_dropout == 0.5
    assert config._attn_implementation == "sdpa"
    assert {module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)} == {0.25, 0.5}
    assert not model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_half_precision_weights_come_up_in_float32(copy_of: CopyOf) -> None:
    folder = copy_of("bert")
    rewrite(folder, lambda weights: weights.update({key: value.half() for key, value in weights.items()}))
    model = load_model(settings_of(folder), LABELS, seed=0).model
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_saved_and_reopened_by_transformers_it_is_the_same(checkpoint: Path, tmp_path: Path) -> None:
    model = load_model(settings_of(checkpoint), LABELS, seed=0).model
    model.save_pretrained(tmp_path)
    reopened = AutoModelForSequenceClassification.from_pretrained(tmp_path, attn_implementation="eager")
    assert torch.equal(logits_of(model, checkpoint), logits_of(reopened, checkpoint))
    assert reopened.config.id2label == model.config.id2label
    assert str(checkpoint.parent) not in (tmp_path / "config.json").read_text()


def test_the_head_comes_from_the_seed_alone(checkpoint: Path) -> None:
    torch.manual_seed(1)
    first = load_model(settings_of(checkpoint), LABELS, seed=7).model
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert same_weights(first, load_model(settings_of(checkpoint), LABELS, seed=7).model)
    assert torch.equal(torch.get_rng_state(), state)
    assert not same_weights(first, load_model(settings_of(checkpoint), LABELS, seed=8).model)


def test_the_head_is_drawn_as_in_pretraining(checkpoints: dict[str, Path]) -> None:
    model = load_model(settings_of(checkpoints["bert"]), LABELS, seed=7).model
    drawn = torch.empty(3, 32).normal_(0.0, 0.02, generator=torch.Generator().manual_seed(7))
    weights = model.state_dict()
    assert torch.equal(weights["classifier.weight"], drawn)
    assert not weights["classifier.bias"].any()


def test_a_head_for_the_same_labels_is_kept(checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = classifier(checkpoint, tmp_path, LABELS)
    with caplog.at_level(logging.INFO, "chirplet"):
        model = load_model(settings_of(folder), LABELS, seed=0).model
    assert same_weights(model, AutoModelForSequenceClassification.from_pretrained(folder))
    assert not caplog.messages


@pytest.mark.parametrize("labels", [["positive", "neutral", "negative"], ["sad", "happy"]])
def test_a_head_for_other_labels_is_replaced(
    labels: list[str], checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = classifier(checkpoint, tmp_path, LABELS)
    with caplog.at_level(logging.INFO, "chirplet"):
        model = load_model(settings_of(folder), labels, seed=0).model
    assert caplog.messages == [
        f"a new classification head for {', '.join(labels)}; the checkpoint's is for negative, neutral, positive"
    ]
    fresh = load_model(settings_of(checkpoint), labels, seed=0).model
    assert same_weights_of_head(model, fresh)


def same_weights_of_head(first: PreTrainedModel, second: PreTrainedModel) -> bool:
    others = second.state_dict()
    head = {name: weight for name, weight in first.state_dict().items() if family_of(first).is_head(first, name)}
    return all(torch.equal(weight, others[name]) for name, weight in head.items())


def test_transformers_prints_nothing(checkpoint: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_model(settings_of(checkpoint), LABELS, seed=0)
    load_tokenizer(settings_of(checkpoint))
    assert capfd.readouterr() == ("", "")


def test_random_weights_when_asked_for(checkpoint: Path) -> None:
    settings = settings_of(checkpoint, pretrained=False)
    loaded = load_model(settings, LABELS, seed=3)
    assert (loaded.origin.pretrained, loaded.origin.weights_sha256) == (False, None)
    assert not loaded.model.training
    assert same_weights(loaded.model, load_model(settings, LABELS, seed=3).model)
    pretrained = load_model(settings_of(checkpoint), LABELS, seed=3).model
    embeddings = f"{pretrained.base_model_prefix}.embeddings.word_embeddings.weight"
    assert not torch.equal(
        loaded.model.state_dict()[embeddings], load_model(settings, LABELS, 4).model.state_dict()[embeddings]
    )
    assert not torch.equal(loaded.model.state_dict()[embeddings], pretrained.state_dict()[embeddings])


def test_random_weights_need_no_weights(copy_of: CopyOf) -> None:
    folder = copy_of("bert")
    (folder / "model.safetensors").unlink()
    assert load_model(settings_of(folder, pretrained=False), LABELS, seed=0).model.num_labels == 3


@pytest.mark.parametrize("key", ["embeddings.word_embeddings.weight", "encoder.layer.1.output.dense.bias"])
def test_an_encoder_weight_is_missing(copy_of: CopyOf, key: str) -> None:
    folder = copy_of("bert")
    rewrite(folder, lambda weights: weights.pop(key))
    with pytest.raises(
        ModelError, match=rf"lacks 1 weights of its encoder, .*\(bert\.{key}, \.\.\.\); model\.pretrained"
    ):
        load_model(settings_of(folder), LABELS, seed=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_hidden_layers": 3}, r"lacks 16 weights of its encoder"),
        ({"intermediate_size": 48}, r"lacks 6 weights of its encoder, or has them in another size"),
        ({"num_hidden_layers": 1}, r"has weights of more layers than its config\.json"),
    ],
)
def test_configuration_and_weights_do_not_fit(copy_of: CopyOf, change: dict[str, int], message: str) -> None:
    folder = copy_of("bert")
    change_config(folder, **change)
    with pytest.raises(ModelError, match=message):
        load_model(settings_of(folder), LABELS, seed=0)


def test_another_architecture(copy_of: CopyOf) -> None:
    folder = copy_of("bert")
    T5Config().save_pretrained(folder)
    with pytest.raises(ModelError, match=r"is not supported \(config.json: got model_type 't5', should have one list"):
        load_model(settings_of(folder), LABELS, seed=0)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"model_type": "nonsense"}', '{"model_type": "bert", "hidden_size": "x"}']
)
def test_damaged_configuration_is_one_line(copy_of: CopyOf, content: str) -> None:
    folder = copy_of("bert")
    (folder / "config.json").write_text(content)
    with pytest.raises(ModelError, match=r"^model\.name_or_path: .*copy_bert cannot be opened \(.+\)$") as caught:
        load_model(settings_of(folder), LABELS, seed=0)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=rf"^model\.name_or_path: {tmp_path} has no config\.json$"):
        load_model(settings_of(tmp_path), LABELS, seed=0)


def test_code_in_the_checkpoint_is_never_run(copy_of: CopyOf) -> None:
    folder = copy_of("bert")
    (folder / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")
    classes = {
        "AutoConfig": "evil.C",
        "AutoModelForSequenceClassification": "evil.M",
        "AutoTokenizer": ["evil.T", None],
    }
    change_config(folder, auto_map=classes)
    load_model(settings_of(folder), LABELS, seed=0)
    change_config(folder, model_type="evil")
    with pytest.raises(ModelError, match="cannot be opened"):
        load_model(settings_of(folder), LABELS, seed=0)
    with pytest.raises(ModelError, match="cannot be opened"):
        load_tokenizer(settings_of(folder))
    assert not (folder / "ran").exists()
