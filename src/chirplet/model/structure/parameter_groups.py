"""Parameter groups for AdamW: learning rates by depth, and no weight decay for vectors."""

from typing import Any

from transformers import PreTrainedModel

from chirplet.model.family import family_of


def parameter_groups(
    model: PreTrainedModel,
    learning_rate: float,
    weight_decay: float,
    layer_decay: float,
    head_learning_rate: float | None,
) -> list[dict[str, Any]]:
    """Each trainable parameter in exactly one group, one group per combination of learning rate and weight decay.

    A parameter at depth d below the head has the learning rate `learning_rate * layer_decay**d` (discriminative
    fine-tuning, Howard & Ruder 2018, section 3.1, where η_{l-1} = η_l / 2.6 is a `layer_decay` of 0.385): the last of L
    layers is at d = 1, the first at d = L, the embeddings at L + 1. Head and pooler have `head_learning_rate`, or
    `learning_rate` if that is None. Biases and the weights of LayerNorm do not decay.
    """
    head_rate = learning_rate if head_learning_rate is None else head_learning_rate
    family = family_of(model)
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        depth = family.depth_from_top(model, name)
        rate = head_rate if depth == 0 else learning_rate * layer_decay**depth
        decay = weight_decay if parameter.ndim > 1 else 0.0  # vectors are biases and LayerNorm's weights
        group = groups.setdefault((rate, decay), {"params": [], "lr": rate, "weight_decay": decay})
        group["params"].append(parameter)
    return list(groups.values())
