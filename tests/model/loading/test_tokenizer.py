from collections.abc import Callable
from pathlib import Path

import pytest
import sentencepiece
from transformers import AutoTokenizer

from checkpoints import TEXTS, change_config, settings_of, tiny
from chirplet.model.loading.tokenizer import load_tokenizer
from chirplet.system.error import ModelError

CopyOf = Callable[[str], Path]
BERT_LIKE = {"pad": "[PAD]", "bos": "[CLS]", "eos": "[SEP]", "unk": "[UNK]"}
SPECIAL = {
    "deberta-v2": BERT_LIKE,
    "albert": BERT_LIKE | {"pad": "<pad>", "unk": "<unk>"},
    "xlm-roberta": {"pad": "<pad>", "bos": "<s>", "eos": "</s>", "unk": "<unk>"},
}
"""The names of special pieces in the published models."""


def test_each_architecture_has_its_own(checkpoints: dict[str, Path]) -> None:
    names = {name: type(load_tokenizer(settings_of(folder))).__name__ for name, folder in checkpoints.items()}
    assert names == {"bert": "BertTokenizer", "roberta": "RobertaTokenizer", "bertweet": "BertweetTokenizer"}


@pytest.mark.parametrize(
    ("name", "pieces"),
    [
        ("bert", ["[CLS]", "@", "user", "stuck", "in", "the", "que", "##ue", "[SEP]"]),
        ("roberta", ["<s>", "@", "user", "Ġst", "u", "ck", "Ġin", "Ġthe", "</s>"]),
        ("bertweet", ["<s>", "@user", "st@@", "uck", "in", "the", "qu@@", "eu@@", "</s>"]),
    ],
)
def test_pieces(checkpoints: dict[str, Path], name: str, pieces: list[str]) -> None:
    tokenizer = load_tokenizer(settings_of(checkpoints[name]))
    ids = tokenizer(TEXTS[0], truncation=True, max_length=9)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == pieces


def test_cuts_at_max_length(checkpoint: Path) -> None:
    tokenizer = load_tokenizer(settings_of(checkpoint, max_length=8))
    assert len(tokenizer(TEXTS[0], truncation=True)["input_ids"]) == 8


def test_saved_and_reopened_it_is_the_same(checkpoint: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(settings_of(checkpoint))
    expected = tokenizer(TEXTS)["input_ids"]
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_bytes((checkpoint / "config.json").read_bytes())
    assert load_tokenizer(settings_of(tmp_path))(TEXTS)["input_ids"] == expected
    assert AutoTokenizer.from_pretrained(tmp_path)(TEXTS)["input_ids"] == expected


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_plain_vocabularies_give_the_same_ids(copy_of: CopyOf, name: str) -> None:
    folder = copy_of(name)
    expected = load_tokenizer(settings_of(folder))(TEXTS)["input_ids"]
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    assert load_tokenizer(settings_of(folder))(TEXTS)["input_ids"] == expected


def test_bertweet_does_not_normalise(checkpoints: dict[str, Path]) -> None:
    tokenizer = load_tokenizer(settings_of(checkpoints["bertweet"]))
    assert tokenizer.convert_ids_to_tokens(tokenizer("@user")["input_ids"]) == ["<s>", "@user", "</s>"]


def test_bertweet_ignores_a_fast_tokenizer_in_its_folder(copy_of: CopyOf, checkpoints: dict[str, Path]) -> None:
    folder = copy_of("bertweet")
    (folder / "tokenizer.json").write_bytes((checkpoints["bert"] / "tokenizer.json").read_bytes())
    expected = load_tokenizer(settings_of(checkpoints["bertweet"]))(TEXTS)["input_ids"]
    assert load_tokenizer(settings_of(folder))(TEXTS)["input_ids"] == expected


def test_bertweet_with_merges_saved_by_transformers(copy_of: CopyOf) -> None:
    folder = copy_of("bertweet")
    lines = (folder / "bpe.codes").read_text().splitlines()
    (folder / "bpe.codes").write_text("".join(line.rsplit(" ", 1)[0] + "\n" for line in lines))
    with pytest.raises(
        ModelError, match=r"bpe\.codes has no merges, .* replace it with the bpe\.codes of the original"
    ):
        load_tokenizer(settings_of(folder))


def test_bertweet_without_merges(copy_of: CopyOf) -> None:
    folder = copy_of("bertweet")
    (folder / "bpe.codes").unlink()
    with pytest.raises(ModelError, match=r"lacks the BERTweet tokenizer's bpe\.codes$"):
        load_tokenizer(settings_of(folder))


def test_max_length_beyond_the_position_table(checkpoints: dict[str, Path]) -> None:
    folder = checkpoints["bertweet"]
    assert load_tokenizer(settings_of(folder, max_length=128)).model_max_length == 128
    with pytest.raises(ModelError, match=rf"^model\.max_length: got 129, should be at most 128, .* of {folder}$"):
        load_tokenizer(settings_of(folder, max_length=129))


def test_no_tokenizer_is_not_made_up(copy_of: CopyOf) -> None:
    folder = copy_of("bert")
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        (folder / name).unlink()
    with pytest.raises(ModelError, match=r"^copy_bert has no tokenizer: none of tokenizer\.json, vocab\.txt"):
        load_tokenizer(settings_of(folder))


def test_damaged_tokenizer(copy_of: CopyOf) -> None:
    folder = copy_of("bert")
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match=r"copy_bert cannot be opened \(.+\)$") as caught:
        load_tokenizer(settings_of(folder))
    assert "\n" not in str(caught.value)


def test_tokenizer_of_another_model(copy_of: CopyOf) -> None:
    folder = copy_of("bert")
    change_config(folder, vocab_size=399)
    with pytest.raises(ModelError, match=r"has 400 tokens, its model only 399$"):
        load_tokenizer(settings_of(folder))


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        ("deberta-v2", "spm.model"),
        ("albert", "spiece.model"),
        ("xlm-roberta", "sentencepiece.bpe.model"),
    ],
)
def test_a_sentencepiece_model_alone_is_enough(tmp_path: Path, kind: str, file: str) -> None:
    folder = tiny(kind, tmp_path / kind)
    for saved in folder.glob("*token*.json"):
        saved.unlink()
    special = {"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3} | {f"{n}_piece": p for n, p in SPECIAL[kind].items()}
    with (folder / file).open("wb") as target:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(TEXTS), model_writer=target, vocab_size=100, minloglevel=2, **special
        )
    change_config(folder, vocab_size=110)
    tokenizer = load_tokenizer(settings_of(folder))
    reference = sentencepiece.SentencePieceProcessor(str(folder / file))
    text = "the nurses and doctors"
    actual = tokenizer.convert_ids_to_tokens(tokenizer(text, add_special_tokens=False)["input_ids"])
    assert actual == reference.encode(text, out_type=str)
    assert len(tokenizer(text)["input_ids"]) == len(actual) + 2
