"""The application: routes and answers to errors.

Other modules add routes as an `APIRouter` (`ROUTERS`). Their handlers take a `Request`, read it with
`chirplet.server.exchange.read_json` or `read_body`, find models with `models_of`, label texts with
`ServedModel.classify`, and raise a `RequestError` to refuse. `chirplet.server.guard` does the rest.
"""

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

import chirplet
from chirplet.server import classify, info, page, table, words
from chirplet.server.errors import RequestError
from chirplet.server.exchange import error_answer
from chirplet.server.guard import Guard
from chirplet.server.limits import Limits
from chirplet.server.metrics import Metrics
from chirplet.server.models import Models

ROUTERS = (classify.router, words.router, table.router, info.router, page.router)


def make_app(models: Models, limits: Limits, metrics: Metrics, token: str | None = None) -> FastAPI:
    """The application that serves these models.

    Args:
        models: the models.
        limits: limits of requests.
        metrics: figures, which the models count in, too.
        token: the bearer token of requests; None serves everybody.
    """
    # FastAPI's pages at /docs and /redoc load scripts from elsewhere.
    app = FastAPI(title="chirplet", version=chirplet.__version__, docs_url=None, redoc_url=None)
    app.state.models, app.state.limits, app.state.metrics = models, limits, metrics
    app.state.has_token = token is not None
    for router in ROUTERS:
        app.router.routes.extend(router.routes)
    app.add_exception_handler(RequestError, _refused)
    app.add_exception_handler(HTTPException, _not_found)
    app.add_middleware(Guard, token=token, metrics=metrics)
    return app


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return error_answer(error)


async def _not_found(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return error_answer(RequestError(error.status_code, str(error.detail), dict(error.headers or {})))
