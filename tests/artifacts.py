"""A small artifact, written as the stages write theirs."""

from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from checkpoints import TEXTS
from chirplet.artifact.artifact import Record, write_record
from chirplet.data.batching.tokens import save_tokenizer
from chirplet.model.loading.quiet import quiet
from chirplet.model.loading.tokenizer import load_tokenizer
from chirplet.model.pretrained import Pretrained
from chirplet.runtime.probe import write_probe
from chirplet.runtime.pytorch import PyTorchRuntime
from chirplet.stage.output.make_probe import Prober
from records import LABELS, make_record


def tiny_artifact(base: Path, folder: Path, record: Record | None = None) -> Path:
    """The checkpoint at `base` with a random head of three classes, whose answers differ between texts."""
    record = record or make_record()
    tokenizer = load_tokenizer(
        Pretrained(
            name_or_path=str(base),
            revision=None,
            pretrained=True,
            cleaning=record.cleaning,
            max_length=record.max_length,
            dropout=0.0,
            classifier_dropout=0.0,
            attention="sdpa",
        )
    )
    with quiet(), torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(1)
        model = AutoModelForSequenceClassification.from_pretrained(
            base, id2label=dict(enumerate(LABELS)), label2id={label: i for i, label in enumerate(LABELS)}
        ).eval()
        # Random encoders see all texts much alike: without the mean they share, what differs decides.
        linear = (module for module in model.modules() if isinstance(module, torch.nn.Linear))
        (head,) = (module for module in linear if module.out_features == len(LABELS))
        head.weight.normal_(std=20.0)
        logits = model(**tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")).logits
        head.bias.sub_(logits.mean(dim=0))
        model.save_pretrained(folder)
        save_tokenizer(tokenizer, folder)
        prober = Prober(model, tokenizer, tokenizer.pad_token_id, record.max_length)
        write_probe(folder, prober.probe(PyTorchRuntime(model)))
    write_record(folder, record)
    return folder


def lively(model: PreTrainedModel) -> PreTrainedModel:
    """Weights as large as trained ones, so that texts differ by more than any rounding."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(2)
        for module in model.modules():
            if isinstance(module, torch.nn.Linear | torch.nn.Embedding):
                module.weight.normal_(std=0.2)
    return model
