"""The application: routes, the token, and answers to errors.

Other modules add routes as an `APIRouter` (`ROUTERS`). Their handlers take a `Request`, read it with
`chirplet.server.exchange.read_json` or `read_body`, find models with `models_of`, label texts with
`ServedModel.classify`, and raise a `RequestError` to refuse. With a token, a request needs it, except for `/health`, `/`
and what is below `/page/`.
"""

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

import chirplet
from chirplet.server import classify, info, page, table, words
from chirplet.server.errors import RequestError
from chirplet.server.exchange import error_answer
from chirplet.server.limits import Limits
from chirplet.server.models import Models

ROUTERS = (info.router, classify.router, words.router, table.router, page.router)


def make_app(models: Models, limits: Limits, token: str | None = None) -> FastAPI:
    """The application that serves these models; `token` is what requests should bear."""
    app = FastAPI(title="chirplet", version=chirplet.__version__, docs_url=None, redoc_url=None)
    app.state.models, app.state.limits = models, limits
    for router in ROUTERS:
        app.include_router(router)
    app.add_exception_handler(RequestError, _refused)
    app.add_exception_handler(HTTPException, _not_found)
    return app


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return error_answer(error)


async def _not_found(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return error_answer(RequestError(error.status_code, str(error.detail), dict(error.headers or {})))
