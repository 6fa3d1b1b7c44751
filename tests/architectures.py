"""Small models with random weights of every type that a family supports, and of two generic ones."""

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from chirplet.model.family import FAMILIES, PostNormFamily, family_of
from chirplet.model.family.base import Sizes

SIZES = Sizes(layers=3, hidden_size=24, heads=4, intermediate_size=40)
POSITIONS, VOCABULARY, PADDING = 20, 50, 3

ROBERTA = {"position_offset": PADDING + 1}
KINDS = {
    "albert": {"distinct_layers": 1, "config": {"embedding_size": 16}},
    "bert": {},
    "camembert": ROBERTA,
    "data2vec-text": ROBERTA,
    "deberta-v2": {
        "distinct_layers": 3,
        "config": {
            "relative_attention": True,
            "position_buckets": 4,
            "pos_att_type": ["p2c", "c2p"],
            "share_att_key": True,
            "position_biased_input": False,
            "norm_rel_ebd": "layer_norm",
            "type_vocab_size": 0,
        },
    },
    "distilbert": {},
    "electra": {"config": {"embedding_size": 16}},
    "ernie": {},
    "modernbert": {"config": {"local_attention": 8}},
    "mpnet": {"position_offset": 2},
    "roberta": ROBERTA,
    "roberta-prelayernorm": ROBERTA,
    "xlm-roberta": ROBERTA,
}
"""What a family says of each type of model. Those that are not in `FAMILIES` are generic."""
GENERIC = {"ernie", "roberta-prelayernorm"}
POST_NORM = sorted(kind for kind, family in FAMILIES.items() if isinstance(family, PostNormFamily))


def built(kind, **changes):
    """A model with weights so large that logits are far off where a part is missing or another."""
    config = AutoConfig.for_model(
        kind, vocab_size=VOCABULARY, num_labels=5, pad_token_id=PADDING, **KINDS[kind].get("config", {})
    )
    config.update({"bos_token_id": 0, "cls_token_id": 0, "eos_token_id": 2, "sep_token_id": 2})
    family = family_of(config)
    config.update(family.size_changes(SIZES.hidden_size, SIZES.heads, SIZES.intermediate_size))
    config.update(family.layer_changes(config, range(SIZES.layers)) | {family.names.positions: POSITIONS})
    config.update(family.dropout_changes(config, encoder=0.0, classifier=0.0) | changes)
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation=family.attentions[-1]).eval()
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=random)
    return model


def texts(rows=3, tokens=9):
    """Token ids and mask, the second row shorter."""
    ids = torch.randint(PADDING + 1, VOCABULARY, (rows, tokens), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    if rows > 1:
        ids[1, tokens // 2 :], mask[1, tokens // 2 :] = PADDING, 0
    return ids, mask


def logits(model, ids, mask):
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=mask).logits
