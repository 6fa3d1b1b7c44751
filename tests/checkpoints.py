"""Small but real checkpoints of each architecture, built in a folder: weights, configuration, tokenizer files.

Always the same ones: weights are random by a seed. The tokenizers were trained on texts written for the purpose; those
whose trainer breaks ties by chance are kept as files.
"""

import json
import math
import shutil
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from tokenizers import ByteLevelBPETokenizer, Tokenizer, decoders, models, normalizers, processors
from transformers import (
    AlbertTokenizer,
    AutoConfig,
    AutoModelForMaskedLM,
    BertConfig,
    BertModel,
    BertTokenizer,
    CamembertTokenizer,
    DebertaV2Tokenizer,
    MPNetTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaTokenizer,
    XLMRobertaTokenizer,
)

from chirplet.model.family import family_of
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
RAW = [
    "@Someone salt &amp; pepper https://t.co/x",
    "  (@A_b1) look:\r\nwww.example.org/a?b=1, http://x.y… 😀\n\n",
    "RT @a: can't  stop\u00a0#sad\u2028@@b me@home.org @ #",
    "<s> [SEP]@joe</s> 👩\u200d💻 ΟΔΥΣΣΕΥΣ İ",
]
"""Texts with mentions, addresses, line breaks, emoji, and what else programs may clean differently."""
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


def wordpiece() -> PreTrainedTokenizerBase:
    """BERT's, of ELECTRA and DistilBERT too."""
    return BertTokenizer(vocab={piece: place for place, piece in enumerate(_read_lines("wordpiece.txt"))})


def mpnet_wordpiece() -> PreTrainedTokenizerBase:
    """With RoBERTa's special tokens, and with BERT's for unknown words within the vocabulary."""
    pieces = [*ROBERTA_SPECIAL[:4], *_read_lines("wordpiece.txt")[5:40], "[UNK]", *_read_lines("wordpiece.txt")[40:]]
    return MPNetTokenizer(vocab={piece: place for place, piece in enumerate([*pieces, "<mask>"])})


def byte_bpe() -> PreTrainedTokenizerBase:
    """RoBERTa's."""
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(TEXTS, vocab_size=400, special_tokens=[*ROBERTA_SPECIAL, "<mask>"], show_progress=False)
    content = json.loads(trained.to_str())["model"]
    return RobertaTokenizer(vocab=content["vocab"], merges=[tuple(merge) for merge in content["merges"]])


def modernbert_bpe() -> PreTrainedTokenizerBase:
    """Byte-level, with the special tokens behind the vocabulary."""
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(TEXTS, vocab_size=400, show_progress=False)
    trained.add_special_tokens(["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"])
    return _with_bert_tokens(Tokenizer.from_str(trained.to_str()))


def sentencepiece_bpe() -> PreTrainedTokenizerBase:
    """As Gemma's and mmBERT's: BPE over characters, with bytes for unknown ones."""
    merges = _merges([word for text in TEXTS for word in _words(text)], 150)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), *_characters(), *map("".join, merges)]
    vocabulary = {piece: place for place, piece in enumerate(dict.fromkeys(pieces))}
    model = models.BPE(vocabulary, merges, unk_token="[UNK]", byte_fallback=True, fuse_unk=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens(special)
    return _with_bert_tokens(tokenizer)


def xlm_unigram() -> PreTrainedTokenizerBase:
    """XLM-R's SentencePiece tokenizer."""
    special = [(token, 0.0) for token in ROBERTA_SPECIAL]
    return XLMRobertaTokenizer(vocab=[*special, *_unigram(), ("<mask>", 0.0)])


def camembert_unigram() -> PreTrainedTokenizerBase:
    """CamemBERT's SentencePiece tokenizer."""
    special = ["<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED", "<s>", "</s>"]
    pieces = [*((token, 0.0) for token in special), *_unigram(), ("<mask>", 0.0)]
    return CamembertTokenizer(vocab=pieces)


def albert_unigram() -> PreTrainedTokenizerBase:
    """ALBERT's SentencePiece tokenizer, lower-case."""
    special = [(token, 0.0) for token in ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")]
    return AlbertTokenizer(vocab=[*special, *_unigram()])


def deberta_unigram() -> PreTrainedTokenizerBase:
    """DeBERTa-v3's SentencePiece tokenizer."""
    special = [(token, 0.0) for token in ("[PAD]", "[CLS]", "[SEP]", "[UNK]")]
    return DebertaV2Tokenizer(vocab=[*special, *_unigram(), ("[MASK]", 0.0)])


POSITIONS_OF_TEXTS = 64
V3 = {
    "relative_attention": True,
    "position_buckets": 16,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "type_vocab_size": 0,
}
"""DeBERTa-v3's architecture."""
KINDS: dict[str, tuple[Callable[[], PreTrainedTokenizerBase], dict[str, Any]]] = {
    "albert": (albert_unigram, {"embedding_size": 16}),
    "camembert": (camembert_unigram, {}),
    "data2vec-text": (byte_bpe, {}),
    "deberta-v2": (deberta_unigram, V3),
    "distilbert": (wordpiece, {}),
    "electra": (wordpiece, {"embedding_size": 16}),
    "ernie": (wordpiece, {}),
    "modernbert": (modernbert_bpe, {"local_attention": 8}),
    "mmbert": (sentencepiece_bpe, {"local_attention": 8}),
    "mpnet": (mpnet_wordpiece, {}),
    "roberta-prelayernorm": (byte_bpe, {}),
    "xlm-roberta": (xlm_unigram, {}),
}
"""Model types with a tokenizer and further keys of `config.json`. `mmbert` is a ModernBERT."""


def tiny(kind: str, folder: Path) -> Path:
    """A checkpoint with its language model's head, as on the hub: 2 layers, 32 wide. `bertweet` is a RoBERTa."""
    if kind in ("bert", "roberta", "bertweet"):
        return {"bert": tiny_bert, "roberta": tiny_roberta, "bertweet": tiny_bertweet}[kind](folder)
    make, changes = KINDS[kind]
    kind = {"mmbert": "modernbert"}.get(kind, kind)
    with quiet():
        tokenizer = make()
        family = family_of(AutoConfig.for_model(kind))
        sizes = family.size_changes(WIDTH, 2, 2 * WIDTH) | {family.names.layers: LAYERS}
        ids = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
        ids |= {name: getattr(tokenizer, name) for name in ("cls_token_id", "sep_token_id")}
        sizes |= {family.names.positions: POSITIONS_OF_TEXTS + 2, "vocab_size": len(tokenizer)}
        config = AutoConfig.for_model(kind, **(ids | sizes | changes))
        folder.mkdir(parents=True, exist_ok=True)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            AutoModelForMaskedLM.from_config(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
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


def _with_bert_tokens(tokenizer: Tokenizer) -> PreTrainedTokenizerBase:
    """Opened as a class that takes the file as it is, with BERT's special tokens around texts."""
    around = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=around)
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "cls", "sep", "pad", "mask")}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def _words(text: str) -> list[str]:
    return [f"▁{word}" for word in text.split()]


def _characters() -> list[str]:
    return sorted({"▁", *"".join(TEXTS)} - {" "})


def _unigram() -> list[tuple[str, float]]:
    """Pieces of words with logarithms of their shares."""
    texts = [*TEXTS, *(text.lower() for text in TEXTS)]
    counts = Counter(
        word[start:end]
        for text in texts
        for word in _words(text)
        for start in range(len(word))
        for end in range(start + 1, min(start + 7, len(word)) + 1)
    )
    common = sorted(counts, key=lambda piece: (-counts[piece] * len(piece), piece))[:300]
    pieces = sorted({*common, *(piece for piece in counts if len(piece) == 1)})
    total = sum(counts[piece] for piece in pieces)
    return [(piece, math.log(counts[piece] / total)) for piece in pieces]


def _merges(words: list[str], count: int) -> list[tuple[str, str]]:
    """The merges that BPE learns of the words, the most frequent pair first, of equal ones the first by name."""
    merges: list[tuple[str, str]] = []
    split = [[*word] for word in words]
    for _ in range(count):
        pairs = Counter(pair for word in split for pair in pairwise(word))
        merges.append(min(pairs, key=lambda pair: (-pairs[pair], pair)))
        for word in split:
            place = 0
            while place < len(word) - 1:
                if (word[place], word[place + 1]) == merges[-1]:
                    word[place : place + 2] = ["".join(merges[-1])]
                place += 1
    return merges
