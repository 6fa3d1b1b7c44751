"""Make an artifact of a classifier that was trained elsewhere, so that every other stage can start from it."""

import logging
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from chirplet.artifact.artifact import Artifact
from chirplet.artifact.foreign import labels_override
from chirplet.config.schema import Count
from chirplet.data.base import Corpus, Split
from chirplet.stage.base import MeasuringStage
from chirplet.stage.fit.settings import check_filled
from chirplet.stage.run.context import Run
from chirplet.system.error import ConfigError

_DOUBTFUL = 0.1
"""Share of the texts; if that many more were right with the names in another order, the names are probably wrong."""

logger = logging.getLogger(__name__)


class ImportModel(MeasuringStage):
    """The names that the data has for the model's labels, and the splits to evaluate on.

    `labels` maps each label in the model's `config.json`, or its position from 0, to one of the data. The weights stay
    as they are; the rows of the output layer take the order of the data's labels.
    """

    also_takes: ClassVar[tuple[str, ...]] = ("model", "task")

    labels: dict[str | int, str | int] | None
    eval_batch_size: Count
    evaluate_train: bool
    evaluate_test: bool

    def run(self, run: Run) -> float | None:
        """Open the model with its own head, name its labels, evaluate it, and write the artifact."""
        from chirplet.model.loading.classifier import load_classifier, reorder_labels
        from chirplet.model.loading.tokenizer import load_tokenizer
        from chirplet.stage.fit.seeding import seed_everything
        from chirplet.stage.output.write_artifact import (
            Outcome,
            lineage_of,
            print_result,
            print_start,
            save_trained,
            write_outcome,
        )
        from chirplet.stage.run.loggers import log_artifact, open_loggers
        from chirplet.stage.run.prepared import Prepared

        seed_everything(run)
        corpus = run.corpus()
        check_filled(corpus, val=False, test=self.evaluate_test, without_val="")
        loaded, own = load_classifier(run.model, run.seed, run.task.problem_type)
        names = self.names(own, corpus)
        data = Prepared.for_model(run.model, load_tokenizer(run.model), corpus, run)
        lineage = lineage_of(run, loaded)
        reorder_labels(loaded.model, [names.index(label) for label in corpus.labels], corpus.labels)
        print_start(data, loaded, run)
        wanted: dict[Split, bool] = {
            "train": self.evaluate_train,
            "val": len(corpus.val) > 0,
            "test": self.evaluate_test,
        }
        with open_loggers(run, "import_model", lineage) as loggers:
            training = {"labels": dict(zip(own, names, strict=True))}
            method = str(loaded.model.config.model_type)
            outcome = Outcome("import_model", method, self.recorded_settings(), lineage, training)
            save = save_trained(run, loaded.model, data)
            splits = [split for split, evaluated in wanted.items() if evaluated]
            artifact = write_outcome(run, outcome, save, data, splits, self.eval_batch_size, self.cost_on(run))
            log_artifact(loggers, artifact, corpus)
        print_result(artifact)
        self._doubt(artifact, [own[names.index(label)] for label in corpus.labels])
        return artifact.metric(run.objective)

    def _doubt(self, artifact: Artifact, own: Sequence[str]) -> None:
        """Warn if the names in another order would be right for many more texts; `own` are the model's labels."""
        metrics = artifact.record.metrics.get("val") or artifact.record.metrics.get("test")
        if metrics is None:
            return
        counts, labels = np.array(metrics["confusion_matrix"]), artifact.record.labels
        best = counts.argmax(axis=0)
        gain = (counts.max(axis=0).sum() - counts.trace()) / counts.sum()
        if len({*best.tolist()}) == len(labels) and gain > _DOUBTFUL:
            better = labels_override(own, [labels[index] for index in best])
            logger.warning("%.0f%% more texts would be labeled correctly with other names: %s", 100 * gain, better)

    def names(self, own: list[str], corpus: Corpus) -> list[str]:
        """The data's name of each label of the model, in the model's order.

        Raises:
            ConfigError: they are not the labels of the data, each once; says what would work.
        """
        given = dict(zip(own, own, strict=True)) if self.labels is None else self.labels
        named = {str(key): str(name) for key, name in given.items()}
        names = [named.get(label, named.get(str(index), "")) for index, label in enumerate(own)]
        if sorted(names) == sorted(corpus.labels) and len(named) == len(own):
            return names
        if len(own) != len(corpus.labels):
            raise ConfigError(
                f"stage.labels: the model has {len(own)} labels ({', '.join(own)}), should have the "
                f"{len(corpus.labels)} of data={corpus.name} ({', '.join(corpus.labels)}); "
                "data.labels may list labels that do not occur, and stage=finetune trains another head"
            )
        got = "null" if self.labels is None else ", ".join(f"{key}: {name}" for key, name in named.items())
        same = {label.casefold(): label for label in corpus.labels}
        by_name = [same[label.casefold()] for label in own if label.casefold() in same]
        suggested = by_name if len({*by_name}) == len(own) else corpus.labels
        raise ConfigError(
            f"stage.labels: got {got}, should give each label of the model one of data={corpus.name}; "
            f"with what each stands for: {labels_override(own, suggested)}"
        )
