"""Small models of every family with random weights, without tokenizers, and rectangles of token ids for them."""

from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from architectures import KINDS
from chirplet.model.family import family_of
from chirplet.model.loading.quiet import quiet

VOCABULARY, PADDING, POSITIONS = 100, 1, 40
SPECIFIC: dict[str, dict[str, Any]] = {kind: facts.get("config", {}) for kind, facts in KINDS.items()}
"""Settings by `model_type`; a window and buckets smaller than the longest text."""


def tiny_encoder(kind: str, **changes: Any) -> PreTrainedModel:
    """Three layers, 32 wide, with weights and biases so large that logits are far off where any of them is missing."""
    names = family_of(AutoConfig.for_model(kind)).names
    sizes = {names.layers: 3, names.hidden_size: 32, names.heads: 4, names.intermediate_size: 48}
    special = dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 2)
    settings = sizes | {names.positions: POSITIONS, "pad_token_id": PADDING} | special | SPECIFIC[kind] | changes
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        config = AutoConfig.for_model(kind, vocab_size=VOCABULARY, num_labels=3, **settings)
        model: PreTrainedModel = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager")
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.1 * torch.randn(parameter.shape)
    return model.eval()


def rectangle(texts: int, tokens: int) -> tuple[Tensor, Tensor]:
    """Ids and mask of texts, the first of them as long as `tokens`, padded on the right."""
    random = torch.Generator().manual_seed(texts + tokens)
    ids = torch.randint(PADDING + 2, VOCABULARY, (texts, tokens), generator=random)
    lengths = torch.randint(1, tokens + 1, (texts, 1), generator=random)
    lengths[0] = tokens
    mask = (torch.arange(tokens) < lengths).long()
    return torch.where(mask == 1, ids, PADDING), mask


def logits_of(model: PreTrainedModel, ids: Tensor, mask: Tensor) -> Tensor:
    """What transformers computes."""
    with torch.inference_mode():
        output: Tensor = model(input_ids=ids, attention_mask=mask).logits
    return output
