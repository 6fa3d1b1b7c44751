"""Load a checkpoint's tokenizer."""

from pathlib import Path
from typing import Any, cast

from transformers import AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase
from transformers.models.auto.tokenization_auto import get_tokenizer_config

from chirplet.data.preparation.normalizers import clean_inside
from chirplet.model.family import family_of
from chirplet.model.loading.bertweet_tokenizer import open_bertweet
from chirplet.model.loading.checkpoint import checkpoint_folder
from chirplet.model.loading.open import open_config, opening
from chirplet.model.pretrained import NAME, Pretrained
from chirplet.system.error import Key, ModelError

VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "sentencepiece.bpe.model", "spiece.model", "spm.model")


def load_tokenizer(settings: Pretrained) -> PreTrainedTokenizerBase:
    """The checkpoint's tokenizer, which truncates at `settings.max_length` tokens, special tokens included.

    It cleans texts with `settings.cleaning` where it can.

    Raises:
        ModelError: it is missing or damaged, does not fit the model, or `max_length` is more than the model takes.
    """
    folder = checkpoint_folder(settings)
    config = open_config(settings, folder)
    allowed = family_of(config).longest_input(config)
    if settings.max_length > allowed:
        meant = get_tokenizer_config(folder).get("model_max_length")
        hint = f"; its tokenizer is for {meant}" if isinstance(meant, int) and meant < allowed else ""
        raise ModelError(
            Key("model.max_length"),
            f": got {settings.max_length}, should be at most {allowed}, the longest input of {settings.name_or_path}"
            f"{hint}",
        )
    with opening(settings):
        tokenizer = _open(folder, config, settings.max_length)
    clean_inside(tokenizer, settings.cleaning)
    if len(tokenizer) > config.vocab_size:
        raise ModelError(
            NAME,
            f": the tokenizer of {settings.name_or_path} has {len(tokenizer)} tokens, "
            f"its model only {config.vocab_size}",
        )
    return tokenizer


def _open(folder: Path, config: PretrainedConfig, max_length: int) -> PreTrainedTokenizerBase:
    named: Any = get_tokenizer_config(folder).get("tokenizer_class") or getattr(config, "tokenizer_class", None)
    if str(named).startswith("Bertweet"):
        return open_bertweet(folder, max_length)
    # Without these files, transformers silently makes a tokenizer of five special tokens.
    if not any((folder / name).is_file() for name in VOCABULARIES):
        raise ModelError(f"{folder.name} has no tokenizer: none of {', '.join(VOCABULARIES)}")
    tokenizer = AutoTokenizer.from_pretrained(
        folder, trust_remote_code=False, local_files_only=True, model_max_length=max_length
    )
    return cast(PreTrainedTokenizerBase, tokenizer)
