"""The application: routes and answers to errors.

Other modules add routes to a `Router` (`ROUTERS`). Their handlers take a `Request`, read it with
`chirplet.server.exchange.read_json` or `read_body`, find models with `models_of`, label texts with
`ServedModel.classify`, and raise a `RequestError` to refuse. `chirplet.server.guard` does the rest.
"""

from functools import cache, partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from chirplet.server import classify, info, page, table, words
from chirplet.server.errors import RequestError
from chirplet.server.exchange import error_answer
from chirplet.server.guard import Guard
from chirplet.server.limits import Limits
from chirplet.server.metrics import Metrics
from chirplet.server.models import Models
from chirplet.server.routes import description

ROUTERS = (classify.router, words.router, table.router, info.router, page.router)


def make_app(models: Models, limits: Limits, metrics: Metrics, token: str | None = None) -> Starlette:
    """The application that serves these models.

    Args:
        models: the models.
        limits: limits of requests.
        metrics: figures, which the models count in, too.
        token: the bearer token of requests; None serves everybody.
    """
    routes = [route for router in ROUTERS for route in router.routes]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Guard, token=token, models=models, metrics=metrics)],
        exception_handlers={RequestError: _refused, HTTPException: _not_found},
    )
    app.state.models, app.state.limits, app.state.metrics = models, limits, metrics
    app.state.has_token = token is not None
    app.state.description = cache(partial(description, routes))
    return app


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return error_answer(error)


async def _not_found(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return error_answer(RequestError(error.status_code, str(error.detail), dict(error.headers or {})))
