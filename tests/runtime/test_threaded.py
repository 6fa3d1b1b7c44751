"""A batch is cut where there is enough for all threads, in order, and each part has its own padding alone."""

import numpy as np
import onnx
import pytest
from transformers import AutoModelForSequenceClassification

from artifacts import lively
from checkpoints import tiny_bert
from chirplet.quantizer.graph.onnx import Arithmetic, classifier_graph
from chirplet.runtime.open import open_runtime
from chirplet.runtime.threaded import PART, parts


def batch(examples, tokens=17, seed=0):
    lengths = 1 + np.arange(examples) * (tokens - 1) // max(examples - 1, 1)
    mask = (np.arange(tokens) < lengths[:, None]).astype(np.int64)
    return np.random.default_rng(seed).integers(5, 100, size=(examples, tokens)) * mask, mask


@pytest.mark.parametrize(
    ("examples", "threads", "sizes"),
    [
        (1, 2, [1]),
        (15, 2, [15]),
        (16, 2, [8, 8]),
        (19, 2, [8, 8, 3]),
        (64, 1, [64]),
        (63, 8, [63]),
        (64, 8, [8] * 8),
    ],
)
def test_parts_by_hand(examples, threads, sizes):
    split = parts(*batch(examples), threads)
    assert [len(part["input_ids"]) for part in split] == sizes


@pytest.mark.parametrize(
    ("examples", "threads", "sizes"),
    [(3, 2, [3]), (4, 2, [2, 2]), (15, 2, [8, 7]), (19, 2, [8, 8, 3]), (4, 1, [4]), (32, 16, [2] * 16)],
)
def test_small_parts_by_hand(examples, threads, sizes):
    split = parts(*batch(examples), threads, smallest=2)
    assert [len(part["input_ids"]) for part in split] == sizes


def test_parts_hold_all_tokens_and_no_column_of_padding():
    ids, mask = batch(2 * PART)
    first, second = parts(ids, mask, 2)
    assert first["input_ids"].shape == first["attention_mask"].shape == (PART, mask[:PART].sum(axis=1).max())
    assert second["input_ids"].shape == (PART, 17)
    for rows, part in ((slice(PART), first), (slice(PART, None), second)):
        np.testing.assert_array_equal(part["input_ids"], ids[rows, : part["input_ids"].shape[1]])
        assert part["attention_mask"].sum() == mask[rows].sum()
        assert all(values.flags.c_contiguous for values in part.values())


def opened(folder, threads):
    if not (folder / "model.onnx").is_file():
        base = tiny_bert(folder / "base")
        model = lively(AutoModelForSequenceClassification.from_pretrained(base, num_labels=3).eval())
        onnx.save(classifier_graph(model, Arithmetic(), {}), folder / "model.onnx")
    return open_runtime(folder, accelerator="cpu", threads=threads, precision="stored")


def test_onnx_parts_are_what_the_whole_is(tmp_path):
    one, three = (opened(tmp_path, threads) for threads in (1, 3))
    for examples in (1, 23, 24, 61):
        whole = one.logits(*batch(examples))
        assert whole.shape == (examples, 3)
        np.testing.assert_allclose(three.logits(*batch(examples)), whole, atol=1e-4)
    assert "_workers" in vars(three) and "_workers" not in vars(one)
    sizes = (61, 24, 1, 48, 48, 23)
    batches = [batch(examples, seed=seed) for seed, examples in enumerate(sizes)]
    for one_batch, logits in zip(batches, three.logits_of_each(batches), strict=True):
        np.testing.assert_allclose(logits, one.logits(*one_batch), atol=1e-4)


def test_an_error_in_a_part_is_raised(tmp_path):
    runtime = opened(tmp_path, 3)
    whole, broken = batch(48), batch(48)
    broken[0][30, 0] = 10**6
    found = runtime.logits_of_each([whole, broken, whole])
    before = next(found)
    with pytest.raises(Exception, match="indices element out of data bounds"):
        next(found)
    np.testing.assert_array_equal(runtime.logits(*whole), before)
