"""The routes that describe the server and its models, and the one that reloads a model."""

from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

import chirplet
from chirplet.server.errors import RequestError
from chirplet.server.exchange import REFUSALS, PlainRoute, json_answer, models_of
from chirplet.server.models import ServedModel

router = APIRouter(route_class=PlainRoute)


@router.get("/models")
async def models(request: Request) -> Response:
    """The models, in the order given; the first is the default."""
    return json_answer({"models": [described(model) for model in models_of(request).values()]})


@router.get("/info")
async def info(request: Request) -> Response:
    """The version of chirplet, and the limits of requests."""
    return json_answer({"version": chirplet.__version__, "limits": vars(request.app.state.limits)})


@router.get("/health")
async def health(request: Request) -> Response:
    """Ready: the server listens only after each model answered its probe."""
    return json_answer({"status": "ready", "models": len(models_of(request))})


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Figures for Prometheus."""
    return Response(request.app.state.metrics.text(), media_type=CONTENT_TYPE_LATEST)


@router.post(
    "/models/{name:path}/reload",
    responses={
        401: REFUSALS[401],
        403: {"description": "The server has no token"},
        404: REFUSALS[404],
        422: {"description": "The artifact cannot be opened or fails its probe; the earlier one goes on"},
    },
)
async def reload(request: Request, name: str) -> Response:
    """Open the model's folder again, and serve what is there now. Needs a token."""
    if not request.app.state.has_token:
        raise RequestError(403, "reload needs a server with a token; set CHIRPLET_SERVE_TOKEN and start it again")
    model = models_of(request).named(name)
    await model.reload()
    return json_answer(described(model))


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
