"""Routes of Starlette that describe themselves, for `/openapi.json`."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, TypeAdapter
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import chirplet

Handler = Callable[..., Awaitable[Response]]
"""Gets the request, and the parameters of its path by name as text."""

JSON = "application/json"
REFS = "#/components/schemas/{model}"
ERRORS = {
    401: "The bearer token is missing or wrong",
    403: "The server has no token",
    404: "There is no such model",
    413: "The request is larger than a limit",
    422: "The request is not as described",
    429: "The queue is full",
    500: "The model failed with these texts",
}
"""What HTTP's codes mean here. 401 is an answer of each route."""


class Fault(BaseModel):
    """Why a request is refused."""

    error: str


@dataclass(frozen=True)
class Documentation:
    """What a route reads and answers.

    Attributes:
        answer: the type whose values are the answer's JSON, or a media type.
        body: likewise of what a request sends; None is nothing.
        query: the parameters, as the fields of a model.
        errors: codes with which it is refused.
    """

    answer: Any = JSON
    body: Any = None
    query: type[BaseModel] | None = None
    errors: Sequence[int] = ()


class DocumentedRoute(Route):
    """A route with its documentation; without it, it is left out of the description."""

    def __init__(self, method: str, path: str, handler: Handler, documentation: Documentation | None) -> None:
        async def endpoint(request: Request) -> Response:
            return await handler(request, **request.path_params)

        super().__init__(path, endpoint, methods=[method])
        self.method = method
        self.handler = handler
        self.documentation = documentation


class Router:
    """The routes of a module."""

    def __init__(self) -> None:
        self.routes = list[DocumentedRoute]()

    def get(self, path: str, documentation: Documentation | None) -> Callable[[Handler], Handler]:
        """Add the decorated handler for GET."""
        return self._add("GET", path, documentation)

    def post(self, path: str, documentation: Documentation | None) -> Callable[[Handler], Handler]:
        """Add the decorated handler for POST."""
        return self._add("POST", path, documentation)

    def _add(self, method: str, path: str, documentation: Documentation | None) -> Callable[[Handler], Handler]:
        def add(handler: Handler) -> Handler:
            self.routes.append(DocumentedRoute(method, path, handler, documentation))
            return handler

        return add


def description(routes: Sequence[DocumentedRoute]) -> dict[str, Any]:
    """The description of routes in the format of OpenAPI 3.1."""
    documented = [(route, route.documentation) for route in routes if route.documentation is not None]
    kinds: dict[Any, Any] = {"fault": Fault}
    for route, known in documented:
        kinds |= {(route.method, route.path, 200): known.answer, (route.method, route.path, "body"): known.body}
    types = {key: TypeAdapter(kind) for key, kind in kinds.items() if kind is not None and not isinstance(kind, str)}
    schemas, definitions = TypeAdapter.json_schemas(
        [(key, "validation", adapter) for key, adapter in types.items()], ref_template=REFS
    )

    def content(key: Any) -> dict[str, Any]:
        kind = kinds[key]
        return {kind: {}} if isinstance(kind, str) else {JSON: {"schema": schemas[key, "validation"]}}

    paths: dict[str, dict[str, Any]] = {}
    for route, known in documented:
        key = route.method, route.path
        operation = {
            "summary": (route.handler.__doc__ or "").partition("\n")[0],
            "parameters": [*_path(route), *_query(known.query)],
            "responses": {
                "200": {"description": "The answer", "content": content((*key, 200))},
                **{str(code): {"description": ERRORS[code], "content": content("fault")} for code in known.errors},
            },
        }
        if known.body is not None:
            operation["requestBody"] = {"required": True, "content": content((*key, "body"))}
        paths.setdefault(route.path_format, {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "chirplet", "version": chirplet.__version__},
        "paths": paths,
        "components": {"schemas": definitions["$defs"]},
    }


def _path(route: DocumentedRoute) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in route.param_convertors
    ]


def _query(query: type[BaseModel] | None) -> list[dict[str, Any]]:
    schemas = {} if query is None else query.model_json_schema()["properties"]
    return [{"name": name, "in": "query", "schema": schema} for name, schema in schemas.items()]
