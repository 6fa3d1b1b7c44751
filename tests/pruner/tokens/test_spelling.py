"""The effect of splitting a removed token."""

import numpy as np
import pytest
import torch

from artifacts import tiny_artifact
from checkpoints import TEXTS, settings_of, tiny
from chirplet.model.loading.tokenizer import load_tokenizer
from chirplet.pruner.tokens.spelling import shifts
from chirplet.pruner.tokens.tokenizer import keep_tokens
from chirplet.pruner.vocabulary import Vocabulary
from chirplet.runtime.pytorch import load_model
from chirplet.task.single_label import SingleLabel


@pytest.fixture(scope="module", params=["bert", "roberta", "bertweet", "modernbert", "mmbert", "xlm-roberta", "albert"])
def folder(request, tmp_path_factory):
    base = tmp_path_factory.mktemp("base")
    return tiny_artifact(tiny(request.param, base / "base"), base / "classifier")


@torch.inference_mode()
def answer(model, ids: list[int]) -> torch.Tensor:
    return model(input_ids=torch.tensor([ids])).logits.softmax(dim=1)[0]


def test_the_shift_is_that_of_the_word_alone(folder):
    model, tokenizer = load_model(folder).eval(), load_tokenizer(settings_of(folder))
    used = sorted({token for ids in tokenizer(TEXTS[:8])["input_ids"] for token in ids})
    smaller, kept = keep_tokens(tokenizer, used)
    lost, moved = shifts(SingleLabel(), model, tokenizer, smaller, kept)
    assert len(lost) == len(moved) > 10
    assert not set(lost.tolist()) & set(kept.tolist())
    for token, shift in list(zip(lost.tolist(), moved.tolist(), strict=True))[:10]:
        word = tokenizer.decode([token])
        spelt = [int(kept[new]) for new in smaller(word)["input_ids"]]
        expected = (answer(model, tokenizer(word)["input_ids"]) - answer(model, spelt)).abs().max()
        assert shift == pytest.approx(float(expected), abs=1e-4)


def test_pieces_within_words_are_no_words(folder):
    tokenizer = load_tokenizer(settings_of(folder))
    smaller, kept = keep_tokens(tokenizer, tokenizer(TEXTS[0])["input_ids"])
    lost, _ = shifts(SingleLabel(), load_model(folder).eval(), tokenizer, smaller, kept)
    assert all(token in tokenizer(tokenizer.decode([token]))["input_ids"] for token in lost.tolist())
    assert not any(token.startswith("##") for token in tokenizer.convert_ids_to_tokens(lost.tolist()))


def test_influential_tokens_are_kept(folder, evidence_for):
    calibration = evidence_for(folder, TEXTS[:8])
    tokenizer = calibration.tokenizer
    smaller, kept = keep_tokens(tokenizer, np.flatnonzero(np.bincount(calibration.uncut().values)))
    lost, moved = shifts(SingleLabel(), load_model(folder).eval(), tokenizer, smaller, kept)
    middle = float(np.median(moved))
    facts = {}
    for most in (None, 1.0, middle):
        pruned = Vocabulary(min_count=1, max_shift=most).prune(load_model(folder).eval(), calibration)
        facts[most] = pruned.facts
    assert facts[None]["tokens"] == facts[1.0]["tokens"] == len(kept)
    assert facts[middle]["tokens_that_tell"] == (moved > middle).sum()
    assert len(kept) < facts[middle]["tokens"] < facts[middle]["tokens_before"]
    assert set(tokenizer.convert_ids_to_tokens(lost[moved > middle].tolist())) <= pruned.tokenizer.get_vocab().keys()
