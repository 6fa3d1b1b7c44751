"""BERTweet's tokenizer with chirplet's preset `bertweet`, and with a fix for saving.

transformers 5.23 writes `bpe.codes` without the count at the end of each line, and takes the second half of each merge
for that count when it reads the file. A saved and reopened tokenizer then has no merges and splits every word into
characters.
"""

from pathlib import Path

import transformers
from transformers.models.auto.tokenization_auto import get_tokenizer_config

from chirplet.data.preparation.cleaning import LONGEST_WORD, clean
from chirplet.system.error import ModelError


class BertweetTokenizer(transformers.BertweetTokenizer):
    """A subclass with the same name as in transformers, so that transformers opens what it saves."""

    def bpe(self, token: str) -> str:
        """The pieces of a word. A word of more than `LONGEST_WORD` characters is split first, as in `cleaning`.

        Merging scans the whole word for each merge, so long words are slow.
        """
        if len(token) <= LONGEST_WORD:
            return str(super().bpe(token))  # type: ignore[no-untyped-call]
        return " ".join(self.bpe(token[start : start + LONGEST_WORD]) for start in range(0, len(token), LONGEST_WORD))

    def normalizeTweet(self, tweet: str) -> str:  # noqa: N802
        """Clean a text with the preset `bertweet`, which `transformers` calls if there is `normalization`."""
        return clean(tweet, "bertweet")

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str, ...]:
        """Write the vocabulary and the merges in the original format, each merge with a count.

        The counts are zeros, since only the order of the lines is read.
        """
        vocabulary, merges = super().save_vocabulary(save_directory, filename_prefix)
        ranked = sorted(self.bpe_ranks, key=self.bpe_ranks.__getitem__)
        lines = [" ".join((*pair, "0")) + "\n" for pair in ranked]
        Path(merges).write_text("".join(lines), encoding="utf-8")
        return vocabulary, merges


def open_bertweet(folder: Path, max_length: int) -> BertweetTokenizer:
    """The tokenizer of a BERTweet checkpoint, which cleans texts itself if its files say so.

    Raises:
        ModelError: a file is missing or damaged, or the merges were saved by transformers without counts.
    """
    missing = [name for name in ("vocab.txt", "bpe.codes") if not (folder / name).is_file()]
    if missing:
        raise ModelError(f"{folder.name} lacks the BERTweet tokenizer's {' and '.join(missing)}")
    normalization = get_tokenizer_config(folder).get("normalization") is True
    # from_pretrained would read special tokens from a tokenizer.json in the same folder
    try:
        tokenizer = BertweetTokenizer(  # type: ignore[no-untyped-call]
            str(folder / "vocab.txt"),
            str(folder / "bpe.codes"),
            normalization=normalization,
            model_max_length=max_length,
        )
    except Exception as error:  # transformers raises exceptions of every kind
        raise ModelError(f"{folder.name}: its vocab.txt or bpe.codes is damaged ({error})") from error
    if not any(len(merge) == 2 for merge in tokenizer.bpe_ranks):
        raise ModelError(
            f"{folder.name}/bpe.codes has no merges, since transformers saved it without counts; "
            "replace it with the bpe.codes of the original checkpoint"
        )
    return tokenizer
