"""What surrounds every request: the token, full queues, clients that leave, errors of the code, counts of responses."""

import asyncio
import hmac
import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chirplet.server.batching import without_texts
from chirplet.server.errors import RequestError
from chirplet.server.exchange import error_answer
from chirplet.server.metrics import Metrics
from chirplet.server.models import Models

logger = logging.getLogger(__name__)

WITHOUT_TOKEN = ("/", "/health")
"""Paths that need no token, besides those below `/page/`: the page, which asks for it, and the check of a container."""
QUEUED = ("/predict", "/v1/classify", "/v1/words")
"""Ends of the paths whose requests wait in the queue of a model."""


class Guard:
    """An ASGI application around another one."""

    def __init__(self, app: ASGIApp, token: str | None, models: Models, metrics: Metrics) -> None:
        self._app = app
        self._token = None if token is None else token.encode()
        self._models = models
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            self._metrics.responses.labels(refusal.status).inc()
            await error_answer(refusal)(scope, receive, send)
            return
        exchange = _Exchange(receive, send)
        try:
            await self._answer(scope, exchange)
        finally:
            exchange.end()
            if exchange.status is not None:
                self._metrics.responses.labels(exchange.status).inc()

    def _refusal(self, scope: Scope) -> RequestError | None:
        """Why a request is refused before it is read, if it is.

        It should take as little time as possible to refuse what is more than a server can compute.
        """
        if not self._may_enter(scope):
            fault = "the Authorization header should be 'Bearer TOKEN', with the server's CHIRPLET_SERVE_TOKEN"
            return RequestError(401, fault, {"WWW-Authenticate": "Bearer"})
        if scope["method"] == "POST" and scope["path"].endswith(QUEUED) and not self._models.have_room:
            return RequestError.overloaded()
        return None

    def _may_enter(self, scope: Scope) -> bool:
        path = scope["path"]
        if self._token is None or path in WITHOUT_TOKEN or path.startswith("/page/"):
            return True
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        scheme, _, token = given.partition(b" ")
        return hmac.compare_digest(token.strip(), self._token) and scheme.lower() == b"bearer"

    async def _answer(self, scope: Scope, exchange: "_Exchange") -> None:
        try:
            await self._app(scope, exchange.receive, exchange.send)
            return
        except asyncio.CancelledError:
            if exchange.left:
                return
            error = RequestError(503, "the server ends; ask again")
        except Exception as unexpected:
            if exchange.left:
                return
            logger.error("%s: %s", scope["path"], without_texts(unexpected))
            error = RequestError(500, "the server failed with this request; it goes on")
        if exchange.status is None:
            await error_answer(error)(scope, exchange.receive, exchange.send)


class _Exchange:
    """Receives and sends the messages of one request, and cancels its task when the client leaves.

    A client that is gone is not noticed by who computes an answer, so a task listens once the request is complete.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self.left = False
        self.status: int | None = None
        self._receive = receive
        self._send = send
        self._listener: asyncio.Task[None] | None = None

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.left = True
        elif not message.get("more_body") and self._listener is None:
            self._listener = asyncio.create_task(self._listen(asyncio.current_task()))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)

    def end(self) -> None:
        if self._listener is not None:
            self._listener.cancel()

    async def _listen(self, task: "asyncio.Task[None] | None") -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.left = True
        if task is not None and self.status is None:
            task.cancel()
