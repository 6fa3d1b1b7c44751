"""A trained-looking classifier with train texts to prune it by."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from artifacts import tiny_artifact
from checkpoints import TEXTS, settings_of, tiny_bert
from chirplet.data.batching.tokens import tokenize
from chirplet.model.loading.tokenizer import load_tokenizer
from chirplet.pruner.masking.calibration import CalibrationData
from chirplet.runtime.pytorch import load_model
from chirplet.task.single_label import SingleLabel


@pytest.fixture(scope="session")
def classifier(tmp_path_factory) -> Path:
    """A folder with a BERT of 2 layers and a head of three classes."""
    folder = tmp_path_factory.mktemp("pruner")
    return tiny_artifact(tiny_bert(folder / "base"), folder / "classifier")


@pytest.fixture
def model(classifier):
    return load_model(classifier).eval()


@pytest.fixture(scope="session")
def evidence_for() -> Callable[[Path, list[str]], CalibrationData]:
    """CalibrationData for the checkpoint in a folder: these texts, with labels one after the other."""

    def made(folder: Path, examples: list[str]) -> CalibrationData:
        tokenizer = load_tokenizer(settings_of(folder))
        tokens = tokenize(examples, tokenizer, "none", 64)
        labels = np.arange(len(examples), dtype=np.int64) % 3
        return CalibrationData(SingleLabel(), tokens, labels, int(tokenizer.pad_token_id), tokenizer, lambda: tokens)

    return made


@pytest.fixture
def calibration(classifier, evidence_for) -> CalibrationData:
    return evidence_for(classifier, TEXTS)
