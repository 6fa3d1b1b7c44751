"""The contract of pruners. A new one adds a line here."""

import pytest
import torch

from chirplet.data.batching.padding import padded
from chirplet.pruner.magnitude import Magnitude
from chirplet.pruner.masking.schedule import Masking
from chirplet.pruner.movement import Movement
from chirplet.pruner.structured import Structured
from chirplet.pruner.vocabulary import Vocabulary
from chirplet.pruner.wanda import Wanda
from chirplet.runtime.pytorch import load_model

SCORED = {"sparsity": 0.5, "scope": "body", "ramp_fraction": 0.5, "every_steps": 2}
PRUNERS = [
    Magnitude(**SCORED, schedule="one_shot"),
    Magnitude(**SCORED, schedule="cubic"),
    Wanda(**SCORED, schedule="one_shot"),
    Wanda(**SCORED, schedule="cubic"),
    Movement(**SCORED, score_learning_rate=1e-2),
    Structured(layers=1, intermediate_size=48, heads=1),
    Vocabulary(min_count=3, max_shift=None),
]


@pytest.fixture(params=PRUNERS, ids=lambda pruner: "-".join(map(str, [type(pruner).__name__, pruner.trained])))
def pruner(request):
    return request.param


@pytest.fixture
def pruned(pruner, model, calibration):
    return pruner.prune(model, calibration)


def counted(model) -> int:
    return sum(int(parameter.count_nonzero()) for parameter in model.parameters())


def logits(model, tokenizer, examples) -> torch.Tensor:
    with torch.inference_mode():
        return model(**tokenizer(examples, padding=True, return_tensors="pt")).logits


def test_what_is_pruned_before_training_is_gone_and_nothing_else_is(pruner, pruned, classifier):
    dense = counted(load_model(classifier))
    assert (counted(pruned.model) == dense) == pruner.trained


def test_masks_are_where_the_zeros_are(pruned):
    weights = dict(pruned.model.named_parameters())
    for name, mask in pruned.masks.items():
        assert mask.shape == weights[name].shape
        assert mask.dtype == torch.bool
        assert not weights[name][~mask].any()


def test_the_saved_model_fits_its_config(pruned, tmp_path):
    pruned.model.save_pretrained(tmp_path)
    again = load_model(tmp_path).eval()
    examples = ["what a lovely morning", "prices are a scam http"]
    expected = logits(pruned.model, pruned.tokenizer, examples)
    torch.testing.assert_close(logits(again, pruned.tokenizer, examples), expected)


def test_the_same_model_and_texts_give_the_same(pruner, pruned, classifier, calibration):
    again = pruner.prune(load_model(classifier).eval(), calibration).model.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in pruned.model.state_dict().items())


def test_pruning_again_is_possible_and_takes_nothing_back(pruner, pruned, calibration):
    if isinstance(pruner, Structured):
        pytest.skip("pruning nothing was refused")
    before = {name: value.clone() for name, value in pruned.model.state_dict().items()}
    again = pruner.prune(pruned.model, type(calibration)(**{**calibration.__dict__, "tokenizer": pruned.tokenizer}))
    if not isinstance(pruner, Vocabulary):
        assert all(not again.model.state_dict()[name][value == 0].any() for name, value in before.items())


def test_training_moves_the_rest_and_leaves_the_zeros(pruner, pruned, calibration):
    """Three steps by hand, as the Lightning module takes them."""
    model = pruned.model.train()
    zeros = {name: parameter == 0 for name, parameter in model.named_parameters()}
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    masking = pruner.masking(pruned, calibration, steps=3)
    assert isinstance(masking, Masking)
    for group in masking.groups():
        optimizer.add_param_group(group)
    ids, mask = map(torch.from_numpy, padded(calibration.tokens, [0, 1, 2, 3], calibration.pad_id))
    ids = ids.clamp(max=model.config.vocab_size - 1)
    for step in range(3):
        masking.before_step(step)
        optimizer.zero_grad()
        model(input_ids=ids, attention_mask=mask, labels=torch.tensor([0, 1, 2, 0])).loss.backward()
        optimizer.step()
        masking.hold()
    masking.finish()
    after = dict(model.named_parameters())
    assert after.keys() == before.keys()
    masked = {name for name in pruned.masks if "LayerNorm" not in name}
    assert all(not after[name][zeros[name]].any() for name in masked)
    assert any(not torch.equal(after[name], before[name]) for name in before)
    if pruner in PRUNERS[:5]:
        left = sum(int(after[name].count_nonzero()) for name in masked) / sum(after[name].numel() for name in masked)
        assert left == pytest.approx(0.5, abs=0.01)
