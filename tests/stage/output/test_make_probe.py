"""The texts of a probe, and its accepted distance."""

import numpy as np
import pytest

from artifacts import lively, tiny_artifact
from checkpoints import tiny_bert, tiny_bertweet, tiny_roberta
from chirplet.runtime.base import Runtime
from chirplet.runtime.probe import OPENING
from chirplet.runtime.pytorch import PyTorchRuntime, load_model
from chirplet.runtime.tokenizer import open_tokenizer
from chirplet.stage.output.make_probe import SHORT, TEXTS, Prober, in_batches, probe_tokens
from chirplet.system.error import ModelError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("probing")
    return tiny_artifact(tiny_bert(root / "base"), root / "artifact")


@pytest.mark.parametrize("make", [tiny_bert, tiny_roberta, tiny_bertweet])
def test_lengths_are_those_at_which_kernels_fail(make, tmp_path):
    tokenizer, _ = open_tokenizer(make(tmp_path), 64)
    lengths = probe_tokens(tokenizer, 32, 64).lengths.tolist()
    assert len(lengths) == len(TEXTS) == 24
    asked = {lengths[batch[0]] for batch in OPENING if len(batch) == 1}
    assert asked == {32, 64, 21}, "the size of a head, twice it, an odd one"
    assert max(lengths[i] for i in SHORT) < min(lengths[i] for i in (4, 6)), "short texts"
    assert {48, 63, 31, 33, 9} <= set(lengths)


def test_no_text_is_longer_than_the_model_takes(folder):
    tokenizer, _ = open_tokenizer(folder, 10)
    lengths = probe_tokens(tokenizer, 64, 10).lengths
    assert lengths.max() == 10 and len(lengths) == 24


def test_batches_are_full():
    assert in_batches(5, 3) == [[0, 1, 2], [3, 4, 0]]
    assert in_batches(2, 5) == [[0, 1, 0, 1, 0]]


class Shifted(Runtime):
    """A runtime with a given distance from fp32, larger in batches."""

    def __init__(self, runtime: Runtime, by: float, among: float) -> None:
        self.runtime, self.by, self.among = runtime, by, among

    def logits(self, input_ids, attention_mask):
        return self.runtime.logits(input_ids, attention_mask) + (self.by if len(input_ids) == 1 else self.among)


def test_the_accepted_distance_is_twice_the_errors_of_model_and_bf16(folder):
    model = lively(load_model(folder)).eval()
    tokenizer, pad_id = open_tokenizer(folder, 32)
    prober = Prober(model, tokenizer, pad_id, 32)
    fp32 = PyTorchRuntime(model)
    assert 0 < prober.rounding < 0.1 * np.abs(prober.fp32).max()
    for by, among in ((0.5, 0.25), (0.25, 0.5)):
        probe = prober.probe(Shifted(fp32, by, among))
        assert probe.accepted == pytest.approx(2 * 0.5 + 4 * prober.rounding, rel=1e-3)
        np.testing.assert_allclose(probe.logits, prober.fp32 + by, atol=1e-4)
        np.testing.assert_array_equal(probe.fp32, prober.fp32)
        assert probe.distance(fp32.logits, OPENING) == pytest.approx(by, rel=1e-3)


class Wrong(Runtime):
    """A runtime that is far off at one length."""

    name, precision = "pytorch", "fp32"

    def __init__(self, runtime: Runtime, by: float) -> None:
        self.runtime, self.by = runtime, by

    def logits(self, input_ids, attention_mask):
        actual = self.runtime.logits(input_ids, attention_mask) + 0.01
        return actual + (self.by if input_ids.shape[1] == 16 else 0)


def test_a_wrong_kernel_on_the_maker_s_machine_raises(folder):
    model = lively(load_model(folder)).eval()
    tokenizer, pad_id = open_tokenizer(folder, 32)
    prober, fp32 = Prober(model, tokenizer, pad_id, 32), PyTorchRuntime(model)
    spread = float(np.ptp(prober.fp32))
    with pytest.raises(
        ModelError, match=r"^pytorch \(fp32\) computes 16 tokens wrongly on this CPU, .*: logits are off"
    ):
        prober.probe(Wrong(fp32, spread))
    assert prober.probe(Shifted(fp32, spread, spread)).accepted >= 2 * spread, "crude at all lengths"
    with pytest.raises(ModelError, match="are not finite"):
        prober.probe(Wrong(fp32, float("nan")))
