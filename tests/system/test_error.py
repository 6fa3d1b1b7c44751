"""Errors name the keys of the caller, and change nothing else in their message."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest

from chirplet.data.base import Corpus, DataReport, Examples
from chirplet.data.table.dialect import Dialect
from chirplet.data.table.stream import open_chunks
from chirplet.model.pretrained import Pretrained
from chirplet.stage.distillation.student import KEYS, own_start
from chirplet.stage.distillation.unlabeled import read_unlabeled
from chirplet.stage.predict import _format
from chirplet.system.error import DataError, Key, ModelError, UserError, first_line, kind_and_message
from chirplet.task.single_label import SingleLabel
from tables import table_settings


def test_keys_alone_are_renamed():
    error = ModelError("file model.max_length, ", Key("model.max_length"), ": try ", Key("model"), "=minilm")
    assert str(error.renamed(KEYS)) == "file model.max_length, student.max_length: try model@student=minilm"
    assert str(error.renamed({"other.": "x."})) == str(error)
    assert str(error.behind("model.name: ").renamed(KEYS)).startswith("model.name: file model.max_length, student.max")
    assert isinstance(error.renamed(KEYS), ModelError)


def test_an_error_passes_between_processes():
    error = pickle.loads(pickle.dumps(UserError("a ", Key("b"))))
    assert str(error) == "a b"


def test_a_file_of_predict_keeps_its_name(tmp_path):
    """Errors of files name the keys of a data source, which are the stage's here."""
    path = tmp_path / "set data.csv"
    path.write_bytes(b"text,n\na,1\nb\xff,2\n")
    with pytest.raises(DataError) as caught, open_chunks([str(path)], Dialect(), ["text"], [], 9, True) as source:
        list(source.chunks)
    assert str(caught.value).startswith(f"{path} row 2, ") and "; set stage.encoding to the file" in str(caught.value)


def test_a_file_without_a_format_keeps_its_name():
    with pytest.raises(ValueError, match=r"^set data\.format\.x: .*; or set stage.output_format to one of csv"):
        _format("set data.format.x", None, "stage.output_format")


def test_a_file_without_labels_keeps_its_name(tmp_path):
    path = tmp_path / "data.encoding.csv"
    path.write_bytes(b"text\n\xff\n")
    with pytest.raises(DataError) as caught:
        read_unlabeled([str(path)], table_settings(), mend=True)
    assert str(caught.value).startswith(f"unlabeled_files: {path} row 1, ")
    assert "set stage.unlabeled.encoding to the file" in str(caught.value)


def test_a_student_s_folder_keeps_its_name(tmp_path):
    folder = tmp_path / "my model.revision model=x"
    folder.mkdir()
    settings = Pretrained(
        name_or_path=str(folder),
        revision=None,
        pretrained=True,
        cleaning="none",
        max_length=32,
        dropout=0.0,
        classifier_dropout=0.0,
        attention="sdpa",
    )
    none = Examples([], [], np.empty(0, np.int64), [])
    corpus = Corpus("csv", ("a", "b"), none, none, none, "", DataReport())
    with pytest.raises(ModelError) as caught:
        own_start(settings, None, corpus, SimpleNamespace(seed=1, task=SingleLabel()), other_data=True)
    assert str(caught.value) == f"student.name_or_path: {folder} has no config.json"


def test_messages_of_other_libraries_become_one_line():
    error = ValueError("\n first of\nmany\n")
    assert (first_line(error), kind_and_message(error)) == ("first of", "ValueError: first of many")
    assert first_line(ValueError()) == "ValueError"
