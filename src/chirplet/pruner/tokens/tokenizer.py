"""A tokenizer with fewer tokens, which tokenizes a text as before if all its tokens were kept and none was unknown.

WordPiece takes the longest piece in the vocabulary that the rest of a word begins with. A kept piece is still the
longest, whatever others were removed; so by induction, piece by piece.

BPE repeatedly applies the first merge in its list that fits two neighbours. Every merge applied to a word makes a token
of it, or a part of a token that a later merge uses. A kept token therefore keeps all merges that make it, and its parts
with the merges that make those, down to single symbols. Each applied merge is then still in the list, and no new merge
precedes it, so that the same merges are applied, step by step.

Unigram takes the pieces with the largest sum of scores. Without some other pieces there are fewer sums to compare, and
the largest is still there. An unknown character has the lowest score of the vocabulary minus a constant; the piece with
the lowest score is therefore kept.
"""

import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from chirplet.data.batching.tokens import save_tokenizer
from chirplet.model.loading.bertweet_tokenizer import BertweetTokenizer, open_bertweet
from chirplet.system.error import PruningError

Merge = tuple[str, str]
KINDS = ("WordPiece", "BPE", "Unigram")
"""Supported models of a `tokenizer.json`. BPE and Unigram are SentencePiece's kinds too."""
BYTE = re.compile(r"<0x[0-9A-F]{2}>")
"""SentencePiece's tokens of single bytes, which spell characters that are not in the vocabulary."""

END_OF_WORD = "</w>"
CONTINUES = "@@"
"""Suffix in BERTweet's vocabulary of pieces that do not end a word; its merges mark pieces that end a word instead."""


def check_kind(tokenizer: PreTrainedTokenizerBase) -> None:
    """Check that `keep_tokens` supports the tokenizer.

    Raises:
        PruningError: it is neither WordPiece, BPE, Unigram nor BERTweet's.
    """
    if isinstance(tokenizer, BertweetTokenizer):
        return
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise PruningError(
            f"pruner: got vocabulary, but the tokenizer is a {type(tokenizer).__name__}, should be a fast tokenizer or "
            "BERTweet's; choose another pruner"
        )
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    if model["type"] not in KINDS:
        raise PruningError(
            f"pruner: got vocabulary, but the tokenizer is {model['type']}, should be {', '.join(KINDS[:-1])} or "
            f"{KINDS[-1]}; choose another pruner"
        )
    if model["type"] == "BPE" and model.get("continuing_subword_prefix"):
        raise PruningError(
            "pruner: got vocabulary, but the tokenizer's BPE marks pieces within words by "
            f"{model['continuing_subword_prefix']!r}, should have no such prefix; choose another pruner"
        )


def always_kept(tokenizer: PreTrainedTokenizerBase) -> NDArray[np.int64]:
    """The ids that `keep_tokens` keeps of any texts, ascending.

    Raises:
        PruningError: as `keep_tokens`.
    """
    if not isinstance(tokenizer, BertweetTokenizer):
        return keep_tokens(tokenizer, ())[1]
    with tempfile.TemporaryDirectory() as folder:
        return _keep_bertweet(Path(folder), tokenizer, set())


def keep_tokens(
    tokenizer: PreTrainedTokenizerBase, used: Iterable[int]
) -> tuple[PreTrainedTokenizerBase, NDArray[np.int64]]:
    """The tokenizer with the tokens `used`, single characters or bytes, special tokens, and the parts of all these.

    Returns:
        A new tokenizer, and the kept ids, ascending: token i of the new one was token kept[i].

    Raises:
        PruningError: as `check_kind`.
    """
    check_kind(tokenizer)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_tokenizer(tokenizer, folder)
        if isinstance(tokenizer, BertweetTokenizer):
            kept = _keep_bertweet(folder, tokenizer, set(used))
            return open_bertweet(folder, tokenizer.model_max_length), kept
        kept = _keep_in_file(folder / "tokenizer.json", set(used))
        # This class reads the file as it is; most others make parts of it anew.
        smaller = PreTrainedTokenizerFast.from_pretrained(
            folder, local_files_only=True, model_max_length=tokenizer.model_max_length
        )
        return smaller, kept


def closure(kept: Collection[str], merges: Sequence[Merge]) -> tuple[set[str], list[Merge]]:
    """The tokens with all parts that they are merged from, and the merges that make any of these, in order."""
    made: dict[str, list[Merge]] = defaultdict(list)
    for merge in merges:
        made["".join(merge)].append(merge)
    needed, waiting = set(kept), list(kept)
    while waiting:
        for part in {part for merge in made.get(waiting.pop(), ()) for part in merge}:
            if part not in needed:
                needed.add(part)
                waiting.append(part)
    return needed, [merge for merge in merges if "".join(merge) in needed]


def _keep_in_file(path: Path, used: set[int]) -> NDArray[np.int64]:
    """Rewrite a `tokenizer.json`. Returns the kept ids."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    model = content["model"]
    vocabulary = _vocabulary(model)
    special = {token["content"]: token["id"] for token in content["added_tokens"]}
    needed = {token for token, number in vocabulary.items() if number in used} | _indispensable(model, vocabulary)
    if model["type"] == "BPE":
        needed, merges = closure(needed, [_merge(merge) for merge in model["merges"]])
        model["merges"] = [list(merge) for merge in merges]
    everything = vocabulary | special
    kept = np.array(sorted({everything[token] for token in (needed | special.keys()) & everything.keys()}), np.int64)
    renumbered = {int(old): new for new, old in enumerate(kept)}
    if model["type"] == "Unigram":  # a token's id is its place in the list
        model["vocab"] = [entry for old, entry in enumerate(model["vocab"]) if old in renumbered]
        model["unk_id"] = renumbered.get(model["unk_id"])
    else:
        model["vocab"] = {token: renumbered[old] for token, old in vocabulary.items() if old in renumbered}
    for token in content["added_tokens"]:
        token["id"] = renumbered[token["id"]]
    _renumber(content["post_processor"] or {}, renumbered)
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return kept


def _vocabulary(model: dict[str, Any]) -> dict[str, int]:
    """The ids of a tokenizer model's tokens."""
    if model["type"] == "Unigram":
        return {token: number for number, (token, _) in enumerate(model["vocab"])}
    vocabulary: dict[str, int] = model["vocab"]
    return vocabulary


def _indispensable(model: dict[str, Any], vocabulary: dict[str, int]) -> set[str]:
    """The tokens that spell any word: single symbols, bytes, and the one for unknown words."""
    prefix, suffix = model.get("continuing_subword_prefix") or "", model.get("end_of_word_suffix") or ""
    needed = {token for token in vocabulary if len(token.removeprefix(prefix).removesuffix(suffix)) == 1}
    needed |= {token for token in vocabulary if BYTE.fullmatch(token)}
    if model["type"] == "Unigram":
        lowest = min(model["vocab"], key=lambda entry: entry[1])
        return needed | {lowest[0]} | {token for token, old in vocabulary.items() if old == model["unk_id"]}
    return needed | ({model["unk_token"]} & vocabulary.keys())


def _merge(merge: str | list[str]) -> Merge:
    """Parse a merge, which older files write as one string."""
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right


def _renumber(processor: Any, renumbered: dict[int, int]) -> None:
    """Renumber the special tokens that are added to a text."""
    for part in processor.get("processors", ()):
        _renumber(part, renumbered)
    for token in processor.get("special_tokens", {}).values():
        token["ids"] = [renumbered[old] for old in token["ids"]]
    for name in ("cls", "sep"):
        if name in processor:
            token, old = processor[name]
            processor[name] = [token, renumbered[old]]


def _keep_bertweet(folder: Path, tokenizer: BertweetTokenizer, used: set[int]) -> NDArray[np.int64]:
    """Rewrite `vocab.txt` and `bpe.codes`. Returns the kept ids.

    The parts that a token is merged from stay in the vocabulary, since a word without a token may end in them.
    """
    vocabulary: dict[str, int] = tokenizer.encoder
    ranks: dict[Any, int] = tokenizer.bpe_ranks
    merges: list[Merge] = sorted((pair for pair in ranks if len(pair) == 2), key=ranks.__getitem__)
    special = set(tokenizer.all_special_tokens)
    pieces = {token: _symbols(token) for token in vocabulary if token not in special}
    singles = {symbols for symbols in pieces.values() if len(symbols.removesuffix(END_OF_WORD)) == 1}
    needed, merges = closure({pieces[token] for token in pieces if vocabulary[token] in used} | singles, merges)
    tokens = [token for token, symbols in pieces.items() if symbols in needed]
    tokens.sort(key=vocabulary.__getitem__)
    _write(folder / "vocab.txt", [f"{token} 1" for token in tokens])
    _write(folder / "bpe.codes", [f"{left} {right} 1" for left, right in merges])
    ids = [vocabulary[token] for token in tokens] + [tokenizer.convert_tokens_to_ids(token) for token in special]
    return np.array(sorted(ids), np.int64)


def _symbols(piece: str) -> str:
    """The spelling in merges of a piece of the vocabulary."""
    continues = piece.endswith(CONTINUES) and piece != CONTINUES
    return piece.removesuffix(CONTINUES) if continues else f"{piece}{END_OF_WORD}"


def _write(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
