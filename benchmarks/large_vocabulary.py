"""The savings from pruning the vocabulary of a checkpoint of BERTweet's size.

The weights are random, so only bytes and the equality of logits are measured. The tokenizer is of BERTweet's kind, with
merges trained on English words and texts, and unused pieces added up to BERTweet's vocabulary size.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedModel, RobertaConfig, RobertaForSequenceClassification

from chirplet.data.base import Corpus
from chirplet.data.batching.tokens import UNCUT, tokenize
from chirplet.data.preparation.cleaning import cleaner
from chirplet.model.loading.bertweet_tokenizer import BertweetTokenizer, open_bertweet
from chirplet.model.loading.quiet import quiet
from chirplet.model.wheel.bundled import CHECKPOINTS
from chirplet.pruner.masking.calibration import CalibrationData
from chirplet.pruner.vocabulary import Vocabulary
from chirplet.task.single_label import SingleLabel

VOCABULARY = 64_001  # tokens, <mask> last
SPECIAL = 4
COMPARED = 64
"""Texts whose logits before and after are compared."""


def vocabulary_saving(corpus: Corpus, examples: int | None) -> dict[str, Any]:
    """Prune by the first `examples` train texts of the corpus, or by all.

    Returns:
        `bytes_before`, `bytes_after` of the weights as saved, `tokens_before`, `tokens`, `filled_up` (unused
        pieces), and `largest_difference` of logits on train texts.
    """
    texts = corpus.train.text[:examples]
    with tempfile.TemporaryDirectory() as name:
        tokenizer, filled = bertweet_tokenizer(Path(name), texts)
        config = RobertaConfig(
            vocab_size=VOCABULARY,
            max_position_embeddings=130,
            type_vocab_size=1,
            layer_norm_eps=1e-5,
        )
        config.num_labels = len(corpus.labels)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            model = RobertaForSequenceClassification(config).eval()
        tokens = tokenize(texts, tokenizer, "bertweet", UNCUT)
        known = [i for i in range(len(tokens)) if tokenizer.unk_token_id not in tokens[i] and len(tokens[i]) <= 128]
        if len(known) < COMPARED:
            raise SystemExit(
                f"vocabulary, BERTweet's shape: {len(known)} of {len(tokens)} train texts have only known tokens "
                f"and at most 128; should be {COMPARED}, whose logits are compared"
            )
        del known[COMPARED:]
        before = [_logits(model, tokens[i]) for i in known]
        bytes_before = _bytes(model, Path(name) / "before")
        calibration = CalibrationData(
            SingleLabel(), tokens, corpus.train.label[:examples], 1, tokenizer, lambda: tokens
        )
        pruned = Vocabulary(min_count=1, max_shift=None).prune(model, calibration)
        again = tokenize([texts[i] for i in known], pruned.tokenizer, "bertweet", UNCUT)
        differences = [
            float((old - _logits(pruned.model, again[index])).abs().max()) for index, old in enumerate(before)
        ]
        return {
            "bytes_before": bytes_before,
            "bytes_after": _bytes(pruned.model, Path(name) / "after"),
            "filled_up": filled,
            "largest_difference": max(differences),
            **pruned.facts,
        }


def bertweet_tokenizer(folder: Path, examples: list[str]) -> tuple[BertweetTokenizer, int]:
    """The tokenizer, and the number of its unused pieces."""
    content = json.loads((CHECKPOINTS["bundled"].folder() / "tokenizer.json").read_text(encoding="utf-8"))
    words = [word for word in content["model"]["vocab"] if word.isalpha()]
    clean = cleaner("bertweet")
    trained = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    trained.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY - SPECIAL - 1, end_of_word_suffix="</w>", show_progress=False)
    trained.train_from_iterator([*words, *map(clean, examples)], trainer)
    vocabulary = trained.get_vocab()
    pieces = [
        piece.removesuffix("</w>") if piece.endswith("</w>") else f"{piece}@@"
        for piece in sorted(vocabulary, key=vocabulary.__getitem__)
    ]
    filled = VOCABULARY - SPECIAL - 1 - len(pieces)
    pieces += [f"<unused{i}>" for i in range(filled)]
    merges = json.loads(trained.to_str())["model"]["merges"]
    (folder / "vocab.txt").write_text("".join(f"{piece} 1\n" for piece in pieces), encoding="utf-8")
    (folder / "bpe.codes").write_text("".join(f"{left} {right} 1\n" for left, right in merges), encoding="utf-8")
    return open_bertweet(folder, 128), filled


@torch.inference_mode()
def _logits(model: PreTrainedModel, ids: np.ndarray) -> torch.Tensor:
    logits: torch.Tensor = model(input_ids=torch.from_numpy(ids[None].astype(np.int64))).logits
    return logits


def _bytes(model: PreTrainedModel, folder: Path) -> int:
    with quiet():
        model.save_pretrained(folder)
    return (folder / "model.safetensors").stat().st_size
