"""BERTweet's own tokenizer, with saving mended.

transformers 5.23 writes `bpe.codes` without the count that ends each line, and on reading takes the second
half of each merge for that count: a saved and reopened tokenizer knows no merge and spells every word.
"""

from pathlib import Path

import transformers

from chirplet.data.preparation.cleaning import LONGEST_WORD
from chirplet.system.error import ModelError


class BertweetTokenizer(transformers.BertweetTokenizer):
    """The class of transformers, under its name, so that what it saves is opened there."""

    def bpe(self, token: str) -> str:
        """The pieces of a word; one of more than `LONGEST_WORD` characters is cut first, as `cleaning` does it.

        Merging goes over the whole word once for each merge, and there are 64,000 of those.
        """
        if len(token) <= LONGEST_WORD:
            return str(super().bpe(token))  # type: ignore[no-untyped-call]
        return " ".join(self.bpe(token[start : start + LONGEST_WORD]) for start in range(0, len(token), LONGEST_WORD))

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str, ...]:
        """Write the vocabulary and the merges as the original files have them, each merge with a count.

        The counts are zeros: nothing but the order of the lines is ever read.
        """
        vocabulary, merges = super().save_vocabulary(save_directory, filename_prefix)
        ranked = sorted(self.bpe_ranks, key=self.bpe_ranks.__getitem__)
        lines = [" ".join((*pair, "0")) + "\n" for pair in ranked]
        Path(merges).write_text("".join(lines), encoding="utf-8")
        return vocabulary, merges


def open_bertweet(folder: Path, max_length: int) -> BertweetTokenizer:
    """The tokenizer of a BERTweet checkpoint; its own normalisation stays off, since texts come cleaned.

    Raises:
        ModelError: its merges were written by transformers' own `save_pretrained`, and are useless.
    """
    missing = [name for name in ("vocab.txt", "bpe.codes") if not (folder / name).is_file()]
    if missing:
        raise ModelError(f"{folder.name} lacks the BERTweet tokenizer's {' and '.join(missing)}")
    # from_pretrained would take special tokens from a tokenizer.json that lies beside these files
    try:
        tokenizer = BertweetTokenizer(  # type: ignore[no-untyped-call]
            str(folder / "vocab.txt"), str(folder / "bpe.codes"), normalization=False, model_max_length=max_length
        )
    except Exception as error:  # that is what transformers raises, or whatever a line made of it
        raise ModelError(f"{folder.name}: its vocab.txt or bpe.codes is damaged ({error})") from error
    if not any(len(merge) == 2 for merge in tokenizer.bpe_ranks):
        raise ModelError(
            f"{folder.name}/bpe.codes holds no merges: transformers saved it without counts; "
            "put the bpe.codes of the original checkpoint in its place"
        )
    return tokenizer
