"""The routes that describe the server and its models."""

from typing import Any

from fastapi import APIRouter, Request, Response

import chirplet
from chirplet.server.exchange import json_answer, models_of
from chirplet.server.models import ServedModel

router = APIRouter()


@router.get("/models")
async def models(request: Request) -> Response:
    """The models, in the order given; the first is the default."""
    return json_answer({"models": [described(model) for model in models_of(request).values()]})


@router.get("/info")
async def info(request: Request) -> Response:
    """The version and limits of the server."""
    return json_answer({"chirplet": chirplet.__version__, "limits": vars(request.app.state.limits)})


@router.get("/health")
async def health() -> Response:
    """Ready: each model answered its probe before the server listened."""
    return json_answer({"status": "ready"})


def described(model: ServedModel) -> dict[str, Any]:
    """What a client may know of a model."""
    record, runtime = model.artifact.record, model.predictor.runtime
    return {
        "name": model.name,
        "id": record.id,
        "task": record.task.name,
        "labels": record.labels,
        "runtime": runtime.name,
        "precision": runtime.precision,
        "max_length": record.max_length,
        "cleaning": record.cleaning,
        "parameters": record.cost.get("params_total"),
    }
