"""Listen on an address until a signal comes, and then answer what was asked before."""

import errno
import gc
import ipaddress
import logging
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from chirplet.system.ending_signals import handlers_to_replace
from chirplet.system.error import ConfigError, first_line

DRAIN_S = 8
"""Seconds at the end for requests that are not answered yet; `docker stop` kills after ten."""
KEEP_ALIVE_S = 65
"""Seconds for which an idle connection stays open: longer than most clients and proxies keep theirs for reuse."""
MOST_HEAD = 2**19
"""Bytes of a request's line and headers: more than one part of what is read, which may begin with another request."""
SWITCH_S = 0.0005
"""Seconds after which a thread that computes Python lets another one run. Python's default is ten times as long, and
requests would wait that long whenever a batch is prepared."""


def bind(host: str, port: int) -> socket.socket:
    """A socket with that address, which does not listen yet.

    Raises:
        ConfigError: this machine has no such address, or the port is used by another process or not allowed.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:  # the second for what cannot be a name of a host
        raise _unusable(host, port, error) from None
    family, kind, protocol, _, address = found[0]
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
        bound.set_inheritable(False)
    except OSError as error:
        bound.close()
        raise _unusable(host, port, error) from None
    return bound


def _unusable(host: str, port: int, error: OSError | UnicodeError) -> ConfigError:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return ConfigError(f"stage.port: got {port}, which another process uses; 0 chooses a free one")
    if number == errno.EACCES:
        return ConfigError(f"stage.port: got {port}, which this user may not use; should be 1024 or more")
    return ConfigError(f"stage.host: got {host!r}, should be an address of this machine ({first_line(error)})")


def is_loopback(bound: socket.socket) -> bool:
    """Whether only this machine reaches the address of the socket."""
    return ipaddress.ip_address(bound.getsockname()[0].partition("%")[0]).is_loopback


def url_of(bound: socket.socket) -> str:
    """The address of the socket for a browser on this machine."""
    host, port = bound.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


class _Server(uvicorn.Server):
    """Ends at all signals that end chirplet; uvicorn would end at two, and raise them again."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.handle_exit) for number in handlers_to_replace()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class BoundedHead(HttpToolsProtocol):
    """A connection that ends at a head of more than `MOST_HEAD`, which httptools would go on to keep in memory."""

    _head: int | None = 0

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head = 0

    def on_headers_complete(self) -> None:
        self._head = None
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head is not None:
            self._head += len(data)
            if self._head > MOST_HEAD:
                self.send_400_response("The headers are too large.")


def serve(app: ASGIApp, bound: socket.socket) -> None:
    """Serve until a signal comes; then refuse connections, and answer the requests that came before.

    Raises:
        ConfigError: another process came first to the port.
    """
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    config = uvicorn.Config(
        app,
        http=BoundedHead,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=DRAIN_S,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    # What is there now stays, so the garbage collector need not look through it while requests wait.
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(SWITCH_S)
    _Server(config).run(sockets=[bound])


def listen(bound: socket.socket) -> None:
    """Let clients connect, who wait until `serve` answers.

    Raises:
        ConfigError: another process came first to the port.
    """
    host, port = bound.getsockname()[:2]
    try:
        bound.listen(2048)
    except OSError as error:
        raise _unusable(host, port, error) from None
