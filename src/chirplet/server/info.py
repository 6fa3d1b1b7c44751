"""The routes that describe the server and its models, and the one that reloads a model."""

from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

import chirplet
from chirplet.server.errors import RequestError
from chirplet.server.exchange import json_answer, models_of
from chirplet.server.models import ServedModel
from chirplet.server.routes import Documentation, Router

router = Router()


@router.get("/models", Documentation(errors=(401,)))
async def models(request: Request) -> Response:
    """The models, in the order given; the first is the default."""
    return json_answer({"models": [described(model) for model in models_of(request).values()]})


@router.get("/info", Documentation(errors=(401,)))
async def info(request: Request) -> Response:
    """The version of chirplet, and the limits of requests."""
    return json_answer({"version": chirplet.__version__, "limits": vars(request.app.state.limits)})


@router.get("/health", Documentation())
async def health(request: Request) -> Response:
    """Ready: the server listens only after each model answered its probe."""
    return json_answer({"status": "ready", "models": len(models_of(request))})


@router.get("/metrics", Documentation("text/plain", errors=(401,)))
async def metrics(request: Request) -> Response:
    """Figures for Prometheus."""
    return Response(request.app.state.metrics.text(), media_type=CONTENT_TYPE_LATEST)


@router.post("/models/{name:path}/reload", Documentation(errors=(401, 403, 404, 422)))
async def reload(request: Request, name: str) -> Response:
    """Open the model's folder again, and serve what is there now; if that fails, the earlier one goes on."""
    if not request.app.state.has_token:
        raise RequestError(403, "reload needs a server with a token; set CHIRPLET_SERVE_TOKEN and start it again")
    model = models_of(request).named(name)
    await model.reload()
    return json_answer(described(model))


@router.get("/openapi.json", None)
async def openapi(request: Request) -> Response:
    """The routes, as OpenAPI."""
    return json_answer(request.app.state.description())


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
