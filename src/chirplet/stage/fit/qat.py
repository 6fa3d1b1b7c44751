"""Quantization-aware training of a parent."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pytorch_lightning.loggers import Logger

from chirplet.model.structure.parameter_groups import parameter_groups
from chirplet.module.classifier import Classifier
from chirplet.module.quantization_aware import QuantizationAware
from chirplet.module.step.training_module import Optimization
from chirplet.pruner.masking.masks import zeros_kept
from chirplet.quantizer.base import RoundedTraining
from chirplet.stage.fit.fit import fit
from chirplet.stage.fit.loaders import training_batches, validation_batches
from chirplet.stage.run.context import Run
from chirplet.stage.run.parent import Parent


def train_rounded(
    run: Run, settings: RoundedTraining, parent: Parent, loggers: Sequence[Logger], resume: str | None
) -> dict[str, Any]:
    """Train the parent's model in place on the labels, with rounded weights and activations. Returns what `fit` does.

    Weights that are zero stay zero, so a pruned model keeps its sparsity. The encoder is that of `transformers`, since
    chirplet's does not call the modules whose inputs are rounded.
    """
    run = replace(run, trainer=run.trainer.model_copy(update={"max_epochs": settings.epochs}))
    model, data, corpus = parent.model, parent.data, parent.data.corpus
    train_loader = training_batches(run, data, corpus.train, settings.batch_size)
    val_loader = validation_batches(run, data, settings.batch_size) if len(corpus.val) else None
    groups = parameter_groups(model, settings.learning_rate, settings.weight_decay, 1.0, None)
    steps = run.trainer.optimizer_steps(len(train_loader))
    optimization = Optimization(groups, "linear", settings.warmup_fraction, steps)
    model.train()
    with zeros_kept(model), QuantizationAware(model, settings.weight_steps):
        module = Classifier(model, data.task, corpus.labels, optimization, 0.0, None, encoder="transformers")
        training = fit(run, module, train_loader, val_loader, loggers, resume)
    model.float().cpu().eval()
    return training
