"""A smaller embedding table and its tokenizer: same logits, and every later stage opens both."""

import pytest
import torch

from artifacts import tiny_artifact
from checkpoints import TEXTS, settings_of, tiny
from chirplet.data.batching.tokens import save_tokenizer
from chirplet.model.loading.tokenizer import load_tokenizer
from chirplet.pruner.tokens.embedding import keep_rows
from chirplet.pruner.vocabulary import Vocabulary
from chirplet.runtime.pytorch import load_model
from chirplet.runtime.tokenizer import open_tokenizer
from chirplet.system.error import PruningError


@pytest.fixture(scope="module", params=["bert", "roberta", "bertweet", "modernbert", "mmbert", "xlm-roberta", "albert"])
def folder(request, tmp_path_factory):
    base = tmp_path_factory.mktemp("base")
    return tiny_artifact(tiny(request.param, base / "base"), base / "classifier")


def logits(model, ids: list[list[int]]) -> torch.Tensor:
    with torch.inference_mode():
        return torch.cat([model(input_ids=torch.tensor([row])).logits for row in ids])


def test_texts_whose_tokens_were_kept_have_the_same_logits(folder, evidence_for, tmp_path):
    train = TEXTS[:8]
    model, tokenizer = load_model(folder).eval(), load_tokenizer(settings_of(folder))
    expected = logits(model, tokenizer(train)["input_ids"])
    rows = model.get_input_embeddings().num_embeddings
    pruned = Vocabulary(min_count=1, max_shift=None).prune(model, evidence_for(folder, train))
    pruned.model.save_pretrained(tmp_path)
    save_tokenizer(pruned.tokenizer, tmp_path)
    opened = load_model(tmp_path).eval()
    for reader in (load_tokenizer(settings_of(tmp_path)), open_tokenizer(tmp_path, 64)[0]):
        ids = reader(train, truncation=True, max_length=64, return_attention_mask=False, return_token_type_ids=False)[
            "input_ids"
        ]
        # The head's weights are large here, and how a file is mapped changes the last bits.
        torch.testing.assert_close(logits(opened, ids), expected, rtol=0.0, atol=1e-4)
    assert opened.get_input_embeddings().num_embeddings == pruned.facts["tokens"] < rows
    assert opened.config.vocab_size == pruned.facts["tokens"]
    assert opened.config.pad_token_id == pruned.tokenizer.pad_token_id == open_tokenizer(tmp_path, 64)[1]


def test_a_padding_that_would_move_is_refused_where_positions_depend_on_it(folder):
    model = load_model(folder)
    kept = torch.arange(5, model.config.vocab_size).numpy()
    if model.config.model_type.endswith("roberta"):
        with pytest.raises(PruningError, match=r"would change the padding id 1 .* of type '(xlm-)?roberta' depend on"):
            keep_rows(model, kept)
        return
    model.config.pad_token_id = model.get_input_embeddings().padding_idx = 6
    model.config.sep_token_id, model.config.eos_token_id, model.config.cls_token_id = 3, [3, 9], 7
    keep_rows(model, kept)
    assert model.config.pad_token_id == model.get_input_embeddings().padding_idx == 1
    assert (model.config.sep_token_id, model.config.eos_token_id, model.config.cls_token_id) == (None, [4], 2)
