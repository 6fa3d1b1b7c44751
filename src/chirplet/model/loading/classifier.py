"""Open a classifier that was trained elsewhere, with its own head."""

from collections.abc import Sequence

import torch
from torch import nn
from transformers import PreTrainedModel

from chirplet.model.family import family_of
from chirplet.model.loading.checkpoint import checkpoint_folder
from chirplet.model.loading.load import LoadedModel, labels_of, load_model
from chirplet.model.loading.open import open_config
from chirplet.model.pretrained import NAME, Pretrained
from chirplet.system.error import Key, ModelError


def load_classifier(settings: Pretrained, seed: int, problem_type: str) -> tuple[LoadedModel, list[str]]:
    """The checkpoint as a classifier of its own labels, and these labels in the order of its logits.

    Raises:
        ModelError: as `load_model`; it has no head, one that is not for `problem_type`, or labels of the same name.
    """
    if not settings.pretrained:
        raise ModelError(Key("model.pretrained"), ": got False, should be true: random weights are no classifier")
    config = open_config(settings, checkpoint_folder(settings))
    labels, name = labels_of(config), settings.name_or_path
    if len(set(labels)) < max(2, len(labels)):
        raise ModelError(NAME, f": {name} has the labels {', '.join(labels)}, should have two or more that differ")
    if config.problem_type not in (None, problem_type):
        raise ModelError(NAME, f": {name} is for {config.problem_type}, should be for {problem_type}")
    loaded = load_model(settings, labels, seed, problem_type)
    if loaded.absent:
        raise ModelError(
            NAME,
            f": {name} lacks {len(loaded.absent)} weights of a classifier ({min(loaded.absent)}, ...), so it is none; "
            "stage=finetune makes one of it",
        )
    return loaded, labels


def reorder_labels(model: PreTrainedModel, order: Sequence[int], labels: Sequence[str]) -> None:
    """Make logit i what logit `order[i]` was, by the rows of the output layer, and call it `labels[i]`.

    Raises:
        ModelError: the logits are not those of a linear layer.
    """
    model.config.id2label = dict(enumerate(labels))
    model.config.label2id = {label: index for index, label in enumerate(labels)}
    if list(order) == sorted(order):
        return
    modules = [module for head in family_of(model).head_modules(model) for module in head.modules()]
    outputs = [one for one in modules if isinstance(one, nn.Linear) and one.out_features == len(order)]
    ids = torch.arange(1, 9)[None] % model.config.vocab_size
    with torch.no_grad():
        before = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        for parameter in outputs[-1].parameters() if outputs else ():  # (labels, hidden_size) and (labels,)
            parameter.copy_(parameter[list(order)])
        after = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    if not torch.allclose(after, before[:, list(order)], atol=1e-5):
        raise ModelError(
            NAME,
            f": the labels of a model of type {model.config.model_type!r} cannot be put in another order; "
            "list the data's labels in the model's order, with data.labels",
        )
