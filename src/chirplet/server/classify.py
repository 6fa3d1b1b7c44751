"""The routes that label texts: `/v1/classify`, and Hugging Face's shape at `/predict`."""

from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response

from chirplet.server.errors import RequestError
from chirplet.server.exchange import Body, json_answer, models_of, read_json
from chirplet.server.models import Answers, ServedModel

router = APIRouter()


class Classify(Body):
    """Texts, and the name of a model; null is the first one."""

    texts: list[str]
    model: str | None = None


class Parameters(Body):
    """Parameters of Hugging Face's text classification."""

    top_k: int | None = None
    function_to_apply: str | None = None


class Predict(Body):
    """A request as Hugging Face's clients send it."""

    inputs: str | list[str]
    parameters: Parameters = Parameters()


@router.post("/v1/classify")
async def classify(request: Request) -> Response:
    """Label texts: labels, probabilities, tokens, truncation."""
    sent = await read_json(request, Classify)
    model = models_of(request).named(sent.model)
    answers = await model.classify(sent.texts)
    return json_answer(
        {"model": model.name, "id": answers.id, "ms": round(answers.ms, 3), "predictions": predictions(answers)}
    )


def predictions(answers: Answers) -> list[dict[str, Any]]:
    """The answer to each text, as `/v1/classify` gives it."""
    return [
        {"label": label, "probabilities": dict(zip(answers.labels, row, strict=True)), "tokens": n, "truncated": cut}
        for label, row, n, cut in zip(
            answers.label, answers.probabilities.tolist(), answers.tokens, answers.truncated, strict=True
        )
    ]


@router.post("/predict")
async def predict(request: Request) -> Response:
    """Label texts with the first model, in the shape of `huggingface_hub.InferenceClient`."""
    return await _predicted(request, models_of(request).named(None))


@router.post("/models/{name:path}/predict")
async def predict_with(request: Request, name: str) -> Response:
    """The same with the model `name`."""
    return await _predicted(request, models_of(request).named(name))


async def _predicted(request: Request, model: ServedModel) -> Response:
    sent = await read_json(request, Predict)
    if sent.parameters.function_to_apply not in (None, "softmax"):
        raise RequestError(422, "parameters.function_to_apply: should be softmax or null")
    answers = await model.classify([sent.inputs] if isinstance(sent.inputs, str) else sent.inputs)
    order = np.argsort(-answers.probabilities, axis=1, kind="stable")[:, : sent.parameters.top_k].tolist()
    return json_answer(
        [
            [{"label": answers.labels[i], "score": row[i]} for i in best]
            for best, row in zip(order, answers.probabilities.tolist(), strict=True)
        ]
    )
