"""A smaller model of each family computes what the large one does without the rest."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from checkpoints import KINDS, V3
from chirplet.model.family import family_of
from chirplet.model.structure.narrowing import narrowed
from chirplet.system.error import ModelError

LAYERS, WIDTH, HEADS, NEURONS = 3, 24, 4, 40
IDS = torch.tensor([[2, 40, 31, 22, 33, 7, 3], [2, 41, 21, 32, 3, 1, 1]])
MASK = torch.tensor([[1] * 7, [1] * 5 + [0] * 2])


@pytest.fixture(params=["bert", "roberta", *(kind for kind in KINDS if kind != "mmbert")])
def model(request):
    return build(request.param)


def build(kind: str, **changes):
    """A classifier with weights so large that logits are far off where a part is missing or another."""
    family = family_of(AutoConfig.for_model(kind))
    sizes = family.size_changes(WIDTH, HEADS, NEURONS) | {family.names.layers: LAYERS, family.names.positions: 20}
    ids = {f"{name}_token_id": 3 for name in ("bos", "eos", "cls", "sep")}
    further = dict(KINDS[kind][1]) if kind in KINDS else {}
    config = AutoConfig.for_model(
        kind, vocab_size=50, num_labels=5, pad_token_id=1, **(ids | sizes | further | changes)
    )
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager").eval()
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=random)
    return model


@torch.no_grad()
def logits(model) -> torch.Tensor:
    return model(input_ids=IDS, attention_mask=MASK).logits


@torch.no_grad()
def outputs(model) -> list[torch.Tensor]:
    """The states after each layer, of real tokens."""
    states = []
    layers = dict.fromkeys(family_of(model).layers(model))
    hooks = [
        layer.register_forward_hook(lambda _, __, out: states.append(out[0] if isinstance(out, tuple) else out))
        for layer in layers
    ]
    logits(model)
    for hook in hooks:
        hook.remove()
    return [state[MASK.bool()] for state in states]


def test_the_lowest_layers_compute_what_they_did(model):
    smaller = narrowed(model, [0, 1], None, None)
    assert family_of(smaller).sizes(smaller.config).layers == 2
    before, after = outputs(model), outputs(smaller)
    assert (len(before), len(after)) == (3, 2)
    for state, expected in zip(after, before, strict=False):
        torch.testing.assert_close(state, expected, rtol=1e-4, atol=1e-4)


def test_all_layers_compute_the_same(model):
    torch.testing.assert_close(logits(narrowed(model, [0, 1, 2], None, None)), logits(model))


@pytest.mark.parametrize("part", ["heads", "neurons"])
def test_heads_and_neurons_without_effect_can_go(model, part):
    family = family_of(model)
    if family.obstacle(part, model.config) is not None:
        pytest.skip(f"its {part} cannot be removed")
    kept = [torch.tensor([1, 2]), torch.tensor([0, 3]), torch.tensor([2, 3])]
    if part == "neurons":
        kept = [torch.cat([each * 5, torch.arange(30, 34)]) for each in kept]
    size = {"heads": WIDTH // HEADS, "neurons": 1}[part]
    with torch.no_grad():
        for layer, some in zip(family.layers(model), kept, strict=True):
            matrix = family.matrices(layer)["attention_output" if part == "heads" else "output"]
            silent = torch.ones(matrix.weight.shape[1] // size, dtype=torch.bool)
            silent[some] = False
            matrix.weight[:, silent.repeat_interleave(size)] = 0.0
    expected = logits(model)
    smaller = narrowed(model, [0, 1, 2], *((kept, None) if part == "heads" else (None, kept)))
    sizes = family.sizes(smaller.config)
    assert (sizes.heads, sizes.intermediate_size) == ((2, NEURONS) if part == "heads" else (HEADS, 6))
    torch.testing.assert_close(logits(smaller), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("changes", [{"share_att_key": False}, {"attention_head_size": 6}])
def test_heads_of_deberta_v2_need_projections_that_positions_share(changes):
    config = AutoConfig.for_model("deberta-v2", **(V3 | changes))
    assert family_of(config).obstacle("heads", config) is not None
    assert family_of(config).obstacle("neurons", config) is None


def test_each_layer_of_modernbert_sees_as_far_as_before():
    model = build("modernbert", layer_types=["full_attention", "sliding_attention", "full_attention"])
    smaller = narrowed(model, [0, 2], None, None)
    assert smaller.config.layer_types == ["full_attention", "full_attention"]
    with pytest.raises(ModelError, match=r"^layers: got \[1, 2\], should begin with 0"):
        narrowed(model, [1, 2], None, None)


def test_weights_that_depend_on_the_number_of_layers_elsewhere_are_refused(monkeypatch):
    model = build("ernie")
    model.register_parameter("mixture", torch.nn.Parameter(torch.ones(LAYERS)))
    with pytest.raises(ModelError, match="a model of type 'ernie' cannot lose layers"):
        narrowed(model, [0], None, None)
