"""Small but real checkpoints of each architecture, built in a folder: weights, configuration, tokenizer files.

Always the same ones: weights are random by a seed. The tokenizers were trained on texts written for the purpose; those
whose trainer breaks ties by chance are kept as files.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaTokenizer,
)

from chirplet.model.loading.quiet import quiet
from chirplet.model.pretrained import Pretrained
from places import SAMPLE

TEXTS = [
    "@user stuck in the queue at the supermarket again, no toilet paper, no pasta, no patience",
    "Huge thank you to all the nurses and doctors working tonight!! You are amazing http",
    "can't believe they cancelled the concert... worst day ever #sad",
    "Just had the best coffee of my life, what a lovely morning :)",
    "Oil prices fell to their lowest level in years today http",
    "@user @user please stop panic buying, there is enough food for everyone",
    "My grandma is 84 and she went shopping alone because all delivery slots are gone. So angry",
    "LOL this cat video made my whole week 😂😂😂 http",
    "The government says shops will stay open during the lockdown #covid19 #news",
    "I love how my neighbours are helping each other, it gives me hope ❤",
    "meh. another monday, another meeting that could have been an email",
    "Prices for hand sanitizer are a scam!!! $50 for a small bottle, shame on you @user",
    "We are hiring! Online shopping demand is up, see the open jobs here http",
    "feeling terrible today, fever and a cough, staying at home #stayhome",
    "Great win tonight, so proud of this team! What a game",
    "Why is customer service always busy? I've been waiting for 2 hours now",
    "RT @user: Supermarket workers deserve a pay rise, they're heroes",
    "It isn't the end of the world, but it's close. Stay safe everyone",
    "new phone arrived and it's broken already, not happy @user",
    "Good food, good friends, good music. Happy birthday to me 🎉",
]
TOKENIZERS = SAMPLE.parent
LAYERS, WIDTH = 2, 32
ROBERTA_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]


def tiny_bert(folder: Path) -> Path:
    """A BERT without a head, as sentence encoders are published: lower-case WordPiece, 2 layers, 32 wide."""
    pieces = _read_lines("wordpiece.txt")
    _save(BertModel, BertConfig(vocab_size=len(pieces), **_sizes(64)), folder)
    with quiet():
        BertTokenizer(vocab={piece: place for place, piece in enumerate(pieces)}).save_pretrained(folder)
    shutil.copy(TOKENIZERS / "wordpiece.txt", folder / "vocab.txt")
    return folder


def tiny_roberta(folder: Path) -> Path:
    """A RoBERTa with its language model's head, as on the hub: byte-level BPE, 2 layers, 32 wide."""
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(TEXTS, vocab_size=400, special_tokens=[*ROBERTA_SPECIAL, "<mask>"], show_progress=False)
    config = RobertaConfig(vocab_size=trained.get_vocab_size(), type_vocab_size=1, **_sizes(66))
    _save(RobertaForMaskedLM, config, folder)
    trained.save_model(str(folder))
    with quiet():
        RobertaTokenizer.from_pretrained(folder).save_pretrained(folder)
    return folder


def tiny_bertweet(folder: Path) -> Path:
    """A BERTweet: RoBERTa's weights with 130 positions, and the slow tokenizer's own two files."""
    pieces = _read_lines("bertweet.txt")
    # <mask> has the id behind the vocabulary
    config = RobertaConfig(vocab_size=len(ROBERTA_SPECIAL) + len(pieces) + 1, type_vocab_size=1, **_sizes(130))
    _save(RobertaForMaskedLM, config, folder)
    for name, own in (("bertweet.txt", "vocab.txt"), ("bertweet.codes", "bpe.codes")):
        shutil.copy(TOKENIZERS / name, folder / own)
    change_config(folder, tokenizer_class="BertweetTokenizer")
    return folder


def settings_of(name_or_path: Path | str, **changes: Any) -> Pretrained:
    """Settings for a checkpoint: 64 tokens, no dropout in the encoder."""
    defaults = {"revision": None, "pretrained": True, "cleaning": "none", "max_length": 64, "dropout": 0.0}
    defaults |= {"classifier_dropout": 0.1, "attention": "eager"}
    return Pretrained(name_or_path=str(name_or_path), **(defaults | changes))


def change_config(folder: Path, **changes: Any) -> None:
    """Rewrite keys of a checkpoint's config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes, indent=2))


def _sizes(positions: int) -> dict[str, Any]:
    return {
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 2,
        "intermediate_size": 2 * WIDTH,
        "max_position_embeddings": positions,
    }


def _save(architecture: type[PreTrainedModel], config: PretrainedConfig, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        architecture(config).save_pretrained(folder)


def _read_lines(name: str) -> list[str]:
    return (TOKENIZERS / name).read_text(encoding="utf-8").removesuffix("\n").split("\n")
