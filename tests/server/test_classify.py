"""Texts are labeled over HTTP as by `chirplet.load`, for our clients and for Hugging Face's."""

import json
import re

import httpx
import numpy as np
import pytest
from fastapi.openapi.models import OpenAPI
from huggingface_hub import InferenceClient
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import pipeline

import chirplet
from checkpoints import RAW, TEXTS
from chirplet.server.classify import Classification
from records import LABELS, make_record
from serving import LIMITS, open_model, serving

LONG = "word " * 60


@pytest.fixture(scope="module")
def url(folder):
    with serving({"first": folder, "a/second": folder}) as url:
        yield url


@pytest.fixture(scope="module")
def client(url):
    with httpx.Client(base_url=url) as client:
        yield client


@pytest.fixture(scope="module")
def expected(folder):
    return open_model(folder).predictor


@pytest.mark.parametrize("path", ["predict", "models/first/predict", "models/a/second/predict"])
def test_the_client_of_hugging_face_reads_labels_and_scores(url, expected, path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    found = InferenceClient(model=f"{url}/{path}").text_classification(TEXTS[0])
    scores = dict(zip(LABELS, expected.probabilities(TEXTS[0])[0], strict=True))
    assert [one.label for one in found] == sorted(scores, key=lambda label: -scores[label])
    assert [one.score for one in found] == pytest.approx(sorted(scores.values(), reverse=True), abs=1e-5)
    best = InferenceClient(model=f"{url}/{path}").text_classification(TEXTS[0], top_k=1)
    assert [one.label for one in best] == [found[0].label]


def test_several_inputs_are_a_list_each(client, expected):
    answer = client.post("/predict", json={"inputs": TEXTS}).json()
    assert [best["label"] for best, *_ in answer] == expected(TEXTS).labels


def test_everything_is_said_of_each_text(client, expected):
    texts = [*TEXTS, "", LONG, "a"]
    answer = client.post("/v1/classify", json={"texts": texts, "model": "a/second"}).json()
    assert answer["model"] == "a/second" and answer["id"] == make_record().id and answer["ms"] > 0
    assert [one["label"] for one in answer["predictions"]] == expected(texts).labels
    for one, row in zip(answer["predictions"], expected.probabilities(texts), strict=True):
        assert list(one["probabilities"]) == LABELS
        np.testing.assert_allclose(list(one["probabilities"].values()), row, atol=1e-5)
    lengths = expected.tokens(texts).lengths.tolist()
    last = answer["predictions"][-3:]
    assert [one["truncated"] for one in last] == [False, True, False]
    assert [one["tokens"] for one in last] == [2, 2 + 2 * 60, lengths[-1]]  # "word" is two tokens here
    assert [one["tokens"] for one in answer["predictions"][:3]] == lengths[:3]
    Classification.model_validate(answer, strict=True)


def test_raw_texts_have_the_labels_of_a_pipeline_of_transformers(client, folder):
    alone = pipeline("text-classification", str(folder), truncation=True, max_length=32)
    texts = [*RAW, *TEXTS]
    found = client.post("/v1/classify", json={"texts": texts}).json()["predictions"]
    assert [one["label"] for one in found] == [one["label"] for one in alone(texts)]


def test_no_texts_are_no_predictions(client):
    assert client.post("/v1/classify", json={"texts": []}).json()["predictions"] == []
    assert client.post("/predict", json={"inputs": []}).json() == []


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        ("/v1/classify", "", 422, "body: Invalid JSON: EOF while parsing a value at line 1 column 0"),
        ("/v1/classify", "[]", 422, "body: should be an object"),
        ("/v1/classify", '{"texts": "a"}', 422, "texts: should be a valid array"),
        ("/v1/classify", '{"texts": ["a", 1]}', 422, "texts.1: should be a valid string"),
        ("/v1/classify", '{"texts": ["a"], "modle": "x"}', 422, "modle: Extra inputs are not permitted"),
        ("/v1/classify", '{"texts": ["a"], "model": "x"}', 404, "model: got 'x', should be one of first, a/second"),
        (
            "/v1/classify",
            json.dumps({"texts": ["a"] * 65}),
            413,
            "got 65 texts, should be at most 64 (stage.max_texts)",
        ),
        (
            "/predict",
            json.dumps({"inputs": ["a", "b" * 401]}),
            413,
            "text 1: got 401 characters, should be at most 400 (stage.max_characters)",
        ),
        ("/predict", " " * 100_001, 413, "body: got more than 0.1 MB, should be at most that (stage.max_body_mb)"),
        ("/predict", '{"inputs": "a", "parameters": {"top_k": 0}}', 422, "parameters.top_k: should be greater than"),
        ("/predict", '{"inputs": "a", "parameters": {"function_to_apply": "none"}}', 422, "should be softmax or null"),
        ("/models/x/predict", '{"inputs": "a"}', 404, "model: got 'x'"),
        ("/nothing", "{}", 404, "Not Found"),
        ("/health", "{}", 405, "Method Not Allowed"),
    ],
)
def test_what_is_refused_says_why_in_a_line(client, path, body, status, error):
    answer = client.post(path, content=body)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert error in answer.json()["error"] and "\n" not in answer.json()["error"]


def test_a_body_is_refused_where_its_length_is_not_declared(client):
    answer = client.post("/predict", content=iter([b" " * 60_000] * 2))
    assert answer.status_code == 413


VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["inputs", "texts", "model"]), inner),
    max_leaves=6,
)


@settings(max_examples=50)
@given(st.sampled_from(["/v1/classify", "/predict"]), st.binary(max_size=50) | VALUES.map(json.dumps))
def test_no_body_is_an_error_of_the_server(client, path, body):
    answer = client.post(path, content=body)
    assert answer.status_code in (200, 404, 422)
    if answer.status_code != 200:
        assert list(answer.json()) == ["error"]


def test_the_server_describes_itself(client):
    assert [(one["name"], one["labels"]) for one in client.get("/models").json()["models"]] == [
        ("first", LABELS),
        ("a/second", LABELS),
    ]
    assert client.get("/info").json() == {"version": chirplet.__version__, "limits": vars(LIMITS)}
    assert client.get("/health").json() == {"status": "ready", "models": 2}
    described = client.get("/openapi.json").json()
    OpenAPI.model_validate(described)
    paths, schemas = described["paths"], described["components"]["schemas"]
    assert {"/v1/classify", "/predict", "/models/{name}/predict", "/models", "/health", "/metrics"} <= set(paths)
    assert set(schemas["Classify"]["properties"]) == {"texts", "model"}
    assert paths["/v1/classify"]["post"]["requestBody"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/Classify"
    }
    assert {ref.rpartition("/")[2] for ref in re.findall('"\\$ref": "([^"]+)"', json.dumps(described))} <= set(schemas)
    assert [one["name"] for one in paths["/models/{name}/predict"]["post"]["parameters"]] == ["name"]
    assert "text_column" in [one["name"] for one in paths["/v1/table"]["post"]["parameters"]]


def test_metrics_count_by_model(folder):
    with serving({"one": folder, "two": folder}) as url, httpx.Client(base_url=url) as client:
        client.post("/models/two/predict", json={"inputs": ["a", "b"]})
        client.post("/models/two/predict", json={"inputs": ["a"] * 100})
        client.post("/models/two/predict", content="{")
        lines = client.get("/metrics").text.splitlines()
    for line in (
        'chirplet_requests_total{model="two",outcome="answered"} 1.0',
        'chirplet_requests_total{model="two",outcome="refused"} 1.0',
        'chirplet_requests_total{model="one",outcome="answered"} 0.0',
        'chirplet_texts_total{model="two"} 2.0',
        'chirplet_batch_texts_bucket{le="2.0",model="two"} 1.0',
        'chirplet_request_seconds_count{model="two"} 1.0',
        'chirplet_queue_requests{model="two"} 0.0',
        'chirplet_responses_total{status="422"} 1.0',
    ):
        assert line in lines
