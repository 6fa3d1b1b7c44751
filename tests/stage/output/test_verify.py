"""Verification of a folder that fails."""

import numpy as np
import pytest

from artifacts import tiny_artifact
from checkpoints import TEXTS, settings_of, tiny_bert
from chirplet.data.base import Corpus, DataReport, Examples
from chirplet.model.loading.tokenizer import load_tokenizer
from chirplet.stage.output.verify import tokens_as_saved
from chirplet.stage.run.prepared import Prepared
from chirplet.system.error import ArtifactError
from chirplet.task.single_label import SingleLabel


def test_a_saved_tokenizer_with_other_tokens_raises(tmp_path):
    folder = tiny_artifact(tiny_bert(tmp_path / "base"), tmp_path / "artifact")
    examples = Examples([str(n) for n in range(len(TEXTS))], TEXTS, np.zeros(len(TEXTS), np.int64), [None] * len(TEXTS))
    corpus = Corpus("csv", ("a", "b"), examples, examples, examples, "", DataReport())
    data = Prepared(corpus, SingleLabel(), load_tokenizer(settings_of(folder)), "none", 32, tmp_path / "cache")
    assert tokens_as_saved(folder, data, examples).values.tolist() == data.tokens(examples).values.tolist()
    saved = (folder / "tokenizer.json").read_text()
    changed = saved.replace('"lowercase":true', '"lowercase":false').replace('"lowercase": true', '"lowercase": false')
    assert changed != saved
    (folder / "tokenizer.json").write_text(changed)
    with pytest.raises(ArtifactError, match="the saved tokenizer gives other tokens"):
        tokens_as_saved(folder, data, examples)
