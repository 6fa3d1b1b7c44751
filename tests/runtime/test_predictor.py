"""Texts in, labels and probabilities out."""

import numpy as np
import pandas as pd
import pytest
from transformers import pipeline

import chirplet
from artifacts import tiny_artifact
from checkpoints import RAW, TEXTS, settings_of, tiny_bert, tiny_bertweet, tiny_roberta
from chirplet.artifact.artifact import Artifact, write_record
from chirplet.data.batching.tokens import save_tokenizer
from chirplet.data.preparation.normalizers import cleans_inside
from chirplet.model.loading.tokenizer import load_tokenizer
from chirplet.runtime.predictor import Predictor
from chirplet.system.error import ArtifactError, ConfigError, DataError, ModelError
from records import LABELS, make_record


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("predictor")
    return tiny_artifact(tiny_bert(place / "base"), place / "artifact")


def test_labels_are_those_of_the_largest_probability_in_the_order_given(folder):
    predictor = chirplet.load(folder, batch_size=3, threads=1)
    found = predictor(TEXTS)
    assert predictor.labels == LABELS
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1)
    assert found.labels == [LABELS[row.argmax()] for row in found.probabilities]
    assert len(set(found.labels)) > 1
    for place in (0, 7, -1):
        assert predictor([TEXTS[place]]).labels == [found.labels[place]]


@pytest.mark.parametrize(
    ("make", "cleaning"),
    [(tiny_bert, "twitter_roberta"), (tiny_roberta, "twitter_roberta"),
     (tiny_roberta, "original_study"), (tiny_bertweet, "bertweet")],
)  # fmt: skip
def test_a_pipeline_of_transformers_reads_and_labels_raw_texts_alike(make, cleaning, tmp_path):
    made = tiny_artifact(make(tmp_path / "base"), tmp_path / "made", make_record(cleaning=cleaning))
    predictor = Predictor.open(
        Artifact.open(made), batch_size=1, accelerator="cpu", threads=1, precision="32-true", verify=False
    )
    alone = pipeline("text-classification", str(made), truncation=True, max_length=32, top_k=None)
    found, texts = predictor(RAW + TEXTS), RAW + TEXTS
    for text, label, row, scores in zip(texts, found.labels, found.probabilities, alone(texts), strict=True):
        assert scores[0]["label"] == label
        assert scores[0]["score"] == pytest.approx(row.max(), abs=1e-5)
        assert (
            alone.tokenizer(text, truncation=True, max_length=32)["input_ids"] == predictor.tokens([text])[0].tolist()
        )
    assert len({*found.labels}) > 1


@pytest.mark.parametrize(("make", "cleaning"), [(tiny_bert, "twitter_roberta"), (tiny_bertweet, "bertweet")])
def test_an_artifact_whose_tokenizer_does_not_clean_has_the_same_tokens(make, cleaning, tmp_path):
    made = tiny_artifact(make(tmp_path / "base"), tmp_path / "made", make_record(cleaning=cleaning))
    before = chirplet.load(made).tokens(RAW)
    tokenizer = load_tokenizer(settings_of(made))  # with the preset `none`
    save_tokenizer(tokenizer, made)
    older = chirplet.load(made)
    assert not cleans_inside(older.tokenizer, cleaning)
    np.testing.assert_array_equal(older.tokens(RAW).values, before.values)


def test_texts_are_cleaned_and_not_repaired(folder):
    predictor = chirplet.load(str(folder))
    found = predictor.logits(["@Someone salt & pepper https://t.co/x", "@user salt & pepper http", "salt &amp; pepper"])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)
    assert len(predictor.tokens(["salt &amp; pepper"])[0]) > len(predictor.tokens(["salt & pepper"])[0])


def test_half_a_character_is_read_as_unknown(folder):
    predictor = chirplet.load(folder)
    np.testing.assert_array_equal(predictor.logits("a \ud83d b"), predictor.logits("a \ufffd b"))


def test_no_texts_and_an_empty_text(folder):
    predictor = chirplet.load(folder)
    none = predictor([])
    assert none.labels == [] and none.probabilities.shape == (0, len(LABELS))
    assert len(predictor([""]).labels) == 1


def test_bertweet_has_its_own_tokenizer(tmp_path):
    made = tiny_artifact(tiny_bertweet(tmp_path / "base"), tmp_path / "made", make_record(cleaning="bertweet"))
    assert len(chirplet.load(made)(TEXTS).labels) == len(TEXTS)


def test_what_is_no_artifact_or_does_not_fit_is_told(folder, tmp_path):
    with pytest.raises(ArtifactError, match="no artifact at"):
        chirplet.load(tmp_path / "nowhere")
    made = tmp_path / "two"
    made.mkdir()
    for file in folder.iterdir():
        (made / file.name).write_bytes(file.read_bytes())
    (made / "artifact.json").unlink()
    write_record(made, make_record(labels=["a", "b"]))
    with pytest.raises(ModelError, match="has 3 classes, its record 2"):
        chirplet.load(made)
    (made / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match=r"tokenizer.json' is damaged"):
        chirplet.load(made)


def test_arguments_that_cannot_be_are_told(folder):
    with pytest.raises(ConfigError, match="batch_size: got 0, should be 1 or more"):
        chirplet.load(folder, batch_size=0)
    with pytest.raises(ConfigError, match="accelerator: got 'cuda', should be one of"):
        chirplet.load(folder, accelerator="cuda")
    with pytest.raises(ConfigError, match="windows: got 'all', should be mean, max or None"):
        chirplet.load(folder, windows="all")
    with pytest.raises(ConfigError, match=r"window_overlap: got 1\.0, should be 0 or more and less than 1"):
        chirplet.load(folder, windows="max", window_overlap=1.0)


@pytest.mark.parametrize("how", ["mean", "max"])
def test_long_texts_are_read_in_windows(how, folder):
    predictor = chirplet.load(folder, windows=how, window_overlap=0.5, threads=1)
    long = " ".join(TEXTS[:4])
    tokens = predictor.tokens([long])[0]
    starts = [*range(0, len(tokens) - 2 - 30, 15), len(tokens) - 2 - 30]
    assert len(starts) > 2
    rows = [[tokens[0], *tokens[1 + start : 31 + start], tokens[-1]] for start in starts]
    logits = [predictor.runtime.logits(np.array([row], np.int64), np.ones((1, 32), np.int64))[0] for row in rows]
    expected = np.mean(logits, axis=0) if how == "mean" else np.max(logits, axis=0)
    found = predictor.logits([TEXTS[0], long])
    np.testing.assert_allclose(found[1], expected, rtol=1e-4, atol=1e-4)
    truncated = chirplet.load(folder, threads=1)
    np.testing.assert_allclose(found[0], truncated.logits(TEXTS[0])[0], rtol=1e-4, atol=1e-4)
    assert np.abs(found[1] - truncated.logits(long)[0]).max() > 0.01
    assert predictor([]).labels == []


def test_one_text_is_one_text(folder):
    predictor = chirplet.load(folder)
    assert predictor(TEXTS[0]).labels == predictor([TEXTS[0]]).labels
    assert predictor("").probabilities.shape == (1, len(LABELS))


@pytest.mark.parametrize("make", [tuple, np.array, pd.Series, lambda texts: pd.Series(texts, dtype="string")])
def test_sequences_of_texts_are_what_a_list_is(make, folder):
    predictor = chirplet.load(folder)
    assert predictor(make(TEXTS)).labels == predictor(TEXTS).labels


@pytest.mark.parametrize(
    ("texts", "line"),
    [
        (None, "texts: got NoneType, should be a text or a sequence of texts"),
        (3, "texts: got int, should be a text or a sequence of texts"),
        (b"bytes", "texts: got bytes, should be"),
        ({"a": "b"}, "texts: got dict, should be"),
        (pd.DataFrame({"text": ["a"]}), "texts: got DataFrame, should be"),
        (np.array([["a", "b"]]), "texts: got ndarray, should be"),
        (["a", None], r"texts: got None at index 1, should be a text; leave it out, or give '' for no text"),
        (pd.Series(["a", float("nan")]), r"texts: got nan at index 1"),
        ([["a"]], r"texts: got \['a'\] at index 0"),
    ],
)
def test_what_are_no_texts_is_refused_by_name(texts, line, folder):
    with pytest.raises(DataError, match=line):
        chirplet.load(folder)(texts)
