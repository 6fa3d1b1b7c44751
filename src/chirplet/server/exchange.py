"""Read requests and write answers: JSON with limits, and errors as `{"error": "one line"}`."""

from typing import TypeVar

import pydantic_core
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from chirplet.server.errors import RequestError
from chirplet.server.limits import Limits
from chirplet.server.models import Models


class Body(BaseModel):
    """What a request sends. Values are of the exact type."""

    model_config = ConfigDict(extra="forbid", strict=True)


Sent = TypeVar("Sent", bound=Body)


def models_of(request: Request) -> Models:
    """The models of the server that got the request."""
    models: Models = request.app.state.models
    return models


async def read_body(request: Request) -> bytes:
    """The body of a request.

    Raises:
        RequestError: it is too large (413).
    """
    limits: Limits = request.app.state.limits
    declared = request.headers.get("content-length", "")
    limits.check_body(int(declared) if declared.isdecimal() else 0)  # before the client sends all of it
    parts, size = list[bytes](), 0
    async for part in request.stream():
        size += len(part)
        limits.check_body(size)
        parts.append(part)
    return b"".join(parts)


async def read_json(request: Request, kind: type[Sent]) -> Sent:
    """The body of a request as `kind`.

    Raises:
        RequestError: it is too large (413), or not JSON of that kind (422).
    """
    body = await read_body(request)
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part)[:80] for part in fault["loc"]) or "body"
        raise RequestError(422, f"{where}: {fault['msg'].replace('Input should', 'should')}") from None


def json_answer(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer of plain values as JSON."""
    return Response(pydantic_core.to_json(content), status, headers, "application/json")


def error_answer(error: RequestError) -> Response:
    """The answer to a request that is refused."""
    return json_answer({"error": error.message}, error.status, error.headers)
