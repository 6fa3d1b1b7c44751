"""The routes that label texts: `/v1/classify`, and Hugging Face's shape at `/predict`."""

from typing import Annotated

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from chirplet.server.errors import RequestError
from chirplet.server.exchange import Body, json_answer, models_of, read_json
from chirplet.server.models import ServedModel
from chirplet.server.routes import Documentation, Router

ERRORS = (401, 404, 413, 422, 429, 500)

router = Router()


class Classify(Body):
    """Texts, and the name of a model; null is the first one."""

    texts: list[str]
    model: str | None = None


class Classified(BaseModel):
    """The answer to one text; `tokens` are counted before a text is truncated."""

    label: str
    probabilities: dict[str, float]
    tokens: int
    truncated: bool


class Classification(BaseModel):
    """The answers, with the model's name, the artifact's id, and the milliseconds that it took."""

    model: str
    id: str
    ms: float
    predictions: list[Classified]


class Parameters(Body):
    """Parameters of Hugging Face's text classification: the `top_k` best labels; null is all of them."""

    top_k: Annotated[int, Field(ge=1)] | None = None
    function_to_apply: str | None = None


class Predict(Body):
    """A request as Hugging Face's clients send it."""

    inputs: str | list[str]
    parameters: Parameters | None = None


class Score(BaseModel):
    """A label and its probability."""

    label: str
    score: float


@router.post("/v1/classify", Documentation(Classification, Classify, errors=ERRORS))
async def classify(request: Request) -> Response:
    """Label texts: labels, probabilities, tokens, truncation."""
    sent = await read_json(request, Classify)
    model = models_of(request).named(sent.model)
    answers = await model.classify(sent.texts)
    columns = answers.label, answers.probabilities.tolist(), answers.tokens, answers.truncated
    predictions = [
        {"label": label, "probabilities": dict(zip(answers.labels, row, strict=True)), "tokens": n, "truncated": cut}
        for label, row, n, cut in zip(*columns, strict=True)
    ]
    return json_answer({"model": model.name, "id": answers.id, "ms": round(answers.ms, 3), "predictions": predictions})


@router.post("/predict", Documentation(list[list[Score]], Predict, errors=ERRORS))
async def predict(request: Request) -> Response:
    """Label texts with the first model: a list of labels for each, the best first, as Hugging Face's clients read."""
    return await _predicted(request, models_of(request).named(None))


@router.post("/models/{name:path}/predict", Documentation(list[list[Score]], Predict, errors=ERRORS))
async def predict_with(request: Request, name: str) -> Response:
    """As `/predict`, with the model of that name."""
    return await _predicted(request, models_of(request).named(name))


async def _predicted(request: Request, model: ServedModel) -> Response:
    sent = await read_json(request, Predict)
    parameters = sent.parameters or Parameters()
    if parameters.function_to_apply not in (None, "softmax"):
        raise RequestError(422, "parameters.function_to_apply: should be softmax or null: scores are probabilities")
    answers = await model.classify([sent.inputs] if isinstance(sent.inputs, str) else sent.inputs)
    return json_answer(
        [
            [{"label": label, "score": score} for score, label in _best(row, answers.labels)[: parameters.top_k]]
            for row in answers.probabilities.tolist()
        ]
    )


def _best(row: list[float], labels: list[str]) -> list[tuple[float, str]]:
    return sorted(zip(row, labels, strict=True), key=lambda pair: -pair[0])
