"""A tokenizer with fewer tokens, which tokenizes a text as before if all its tokens were kept and none was unknown.

WordPiece takes the longest piece in the vocabulary that the rest of a word begins with. A kept piece is still the
longest, whatever others were removed; so by induction, piece by piece.

BPE repeatedly applies the first merge in its list that fits two neighbours. Every merge applied to a word makes a token
of it, or a part of a token that a later merge uses. A kept token therefore keeps all merges that make it, and its parts
with the merges that make those, down to single symbols. Each applied merge is then still in the list, and no new merge
precedes it, so that the same merges are applied, step by step.
"""

import json
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
KINDS = ("WordPiece", "BPE")
"""Supported models of a `tokenizer.json`."""

END_OF_WORD = "</w>"
CONTINUES = "@@"
"""Suffix in BERTweet's vocabulary of pieces that do not end a word; its merges mark pieces that end a word instead."""


def check_kind(tokenizer: PreTrainedTokenizerBase) -> None:
    """Check that `keep_tokens` supports the tokenizer.

    Raises:
        PruningError: it is neither WordPiece, BPE nor BERTweet's.
    """
    if isinstance(tokenizer, BertweetTokenizer):
        return
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise PruningError(
            f"pruner: got vocabulary, but the tokenizer is a {type(tokenizer).__name__}, should be a fast tokenizer or "
            "BERTweet's; choose another pruner"
        )
    kind = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["type"]
    if kind not in KINDS:
        raise PruningError(
            f"pruner: got vocabulary, but the tokenizer is {kind}, should be {' or '.join(KINDS)}; "
            "choose another pruner"
        )


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
        smaller = type(tokenizer).from_pretrained(
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
    vocabulary: dict[str, int] = model["vocab"]
    if model["type"] == "WordPiece":
        prefix = model["continuing_subword_prefix"]
        singles = {token for token in vocabulary if len(token.removeprefix(prefix)) == 1}
    else:
        singles = {token for token in vocabulary if len(token) == 1}
    special = {token["content"]: token["id"] for token in content["added_tokens"]}
    needed = {token for token, number in vocabulary.items() if number in used} | singles
    if model["type"] == "BPE":
        needed, merges = closure(needed, [_merge(merge) for merge in model["merges"]])
        model["merges"] = [list(merge) for merge in merges]
    everything = vocabulary | special
    kept = np.array(sorted({everything[token] for token in (needed | special.keys()) & everything.keys()}), np.int64)
    renumbered = {int(old): new for new, old in enumerate(kept)}
    model["vocab"] = {token: renumbered[old] for token, old in vocabulary.items() if old in renumbered}
    for token in content["added_tokens"]:
        token["id"] = renumbered[token["id"]]
    _renumber(content["post_processor"] or {}, renumbered)
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return kept


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
