"""A checkpoint of any family with random weights, of the size that families are compared at: 12 layers, 384 wide."""

import shutil
from pathlib import Path

LAYERS, WIDTH, HEADS, NEURONS = 12, 384, 12, 1536
POSITIONS = 514
DEBERTA_V3 = {
    "relative_attention": True,
    "position_buckets": 256,
    "pos_att_type": ["p2c", "c2p"],
    "share_att_key": True,
    "position_biased_input": False,
    "norm_rel_ebd": "layer_norm",
    "max_relative_positions": -1,
    "type_vocab_size": 0,
}
"""Keys in which DeBERTa-v3 differs from the defaults of its configuration."""


def write_checkpoint(
    folder: Path,
    model_type: str,
    seed: int = 0,
    sizes: tuple[int, int, int, int] = (LAYERS, WIDTH, HEADS, NEURONS),
    words: int | None = None,
) -> Path:
    """Write an encoder without a head, with the tokenizer of the bundled model. Returns `folder`.

    `sizes` are layers, width, heads and neurons; `words` is the size of the vocabulary, by default that of the
    tokenizer.
    """
    import torch
    from transformers import AutoConfig, AutoModel

    from chirplet.model.family import family_of
    from chirplet.model.loading.quiet import quiet
    from chirplet.model.wheel.bundled import CHECKPOINTS

    bundled = CHECKPOINTS["bundled"].folder()
    shutil.copytree(bundled, folder, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    vocabulary = AutoConfig.from_pretrained(bundled).vocab_size if words is None else words
    layers, width, heads, neurons = sizes
    special = {"pad_token_id": 0, "cls_token_id": 101, "bos_token_id": 101, "sep_token_id": 102, "eos_token_id": 102}
    changed = DEBERTA_V3 if model_type == "deberta-v2" else {}
    config = AutoConfig.for_model(model_type, vocab_size=vocabulary, **special, **changed)
    family = family_of(config)
    config.update(family.size_changes(width, heads, neurons) | family.layer_changes(config, range(layers)))
    config.update({family.names.positions: POSITIONS})
    torch.manual_seed(seed)
    with quiet():
        AutoModel.from_config(config).save_pretrained(folder)
    return folder
