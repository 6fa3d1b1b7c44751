"""Clients of `benchmarks/serve.py`: a fixed number of them, or a fixed rate of arrivals, on the loopback interface.

Latency is counted from the moment at which a request was due, so that a server that makes clients wait before they can
send is not flattered.
"""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import aiohttp

CONNECTIONS = 1024
"""Most connections at a time."""
GIVE_UP_S = 30.0
"""After so long without an answer a request counts as hanging."""
HANGING = 0
"""In `Load.statuses`, a request without an answer."""


@dataclass
class Load:
    """What clients saw: `seconds` in all, requests by HTTP status, and latencies of answers with status 200, in s."""

    texts_per_request: int
    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)

    @property
    def texts_per_s(self) -> float:
        """Labeled texts per second."""
        return self.statuses[200] * self.texts_per_request / self.seconds

    def percentile_ms(self, share: float) -> float:
        """The latency in ms that this share of the accepted requests stays below; infinite without any."""
        if not self.latencies:
            return float("inf")
        ordered = sorted(self.latencies)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def share_within(self, ms: float) -> float:
        """The share of all requests that were accepted and answered within so many ms."""
        return sum(1000 * one <= ms for one in self.latencies) / max(1, sum(self.statuses.values()))

    @property
    def p95(self) -> float:
        """95th percentile in ms."""
        return self.percentile_ms(0.95)


@dataclass(frozen=True)
class Address:
    """Where texts are posted: `url`, and the key that they have in the body, whose model may have to be named."""

    url: str
    key: str = "inputs"
    model: str | None = None

    def bodies(self, texts: Sequence[str], texts_per_request: int) -> list[bytes]:
        """Bodies of requests."""
        named = {} if self.model is None else {"model": self.model}
        starts = range(0, len(texts) - texts_per_request + 1, texts_per_request)
        return [json.dumps({self.key: texts[i : i + texts_per_request], **named}).encode() for i in starts]


@asynccontextmanager
async def _session() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    timeout = aiohttp.ClientTimeout(total=GIVE_UP_S)
    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as session:
        yield session


async def _ask(session: aiohttp.ClientSession, url: str, body: bytes, due: float, load: Load) -> int:
    try:
        async with session.post(url, data=body) as answer:
            await answer.read()
            status = answer.status
    except (TimeoutError, aiohttp.ClientError):
        status = HANGING
    load.statuses[status] += 1
    if status == 200:
        load.latencies.append(time.perf_counter() - due)
    return status


async def _closed(url: str, asked: Sequence[bytes], clients: int, seconds: float, load: Load) -> None:
    async with _session() as session:
        started = time.perf_counter()

        async def client(number: int) -> None:
            turn = number
            while time.perf_counter() - started < seconds:
                status = await _ask(session, url, asked[turn % len(asked)], time.perf_counter(), load)
                turn += clients
                if status == 429:  # as `Retry-After` says
                    await asyncio.sleep(1)

        await asyncio.gather(*(client(number) for number in range(clients)))
        load.seconds = time.perf_counter() - started


async def _open(url: str, asked: Sequence[bytes], rate: float, seconds: float, load: Load, seed: int) -> None:
    draw = random.Random(seed)
    async with _session() as session, asyncio.TaskGroup() as group:
        started = time.perf_counter()
        due, turn = started, 0
        while due - started < seconds:
            wait = due - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            group.create_task(_ask(session, url, asked[turn % len(asked)], due, load))
            due, turn = due + draw.expovariate(rate), turn + 1
    load.seconds = time.perf_counter() - started


def with_clients(
    address: Address, texts: Sequence[str], clients: int, seconds: float, texts_per_request: int = 1
) -> Load:
    """Each of `clients` sends its next request when the last one is answered, after a second if it was refused."""
    load = Load(texts_per_request)
    asyncio.run(_closed(address.url, address.bodies(texts, texts_per_request), clients, seconds, load))
    return load


def at_rate(address: Address, texts: Sequence[str], rate: float, seconds: float, seed: int = 0) -> Load:
    """Requests of one text arrive at random, `rate` per second on average, whether or not others are answered."""
    load = Load(1)
    asyncio.run(_open(address.url, address.bodies(texts, 1), rate, seconds, load, seed))
    return load


class SlowClients:
    """Connections that announce a body and send a byte a second, as long as the context is open."""

    def __init__(self, host: str, port: int, count: int) -> None:
        self.host, self.port, self.count = host, port, count

    async def __aenter__(self) -> "SlowClients":
        self._tasks = [asyncio.create_task(self._dribble()) for _ in range(self.count)]
        await asyncio.sleep(0.5)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _dribble(self) -> None:
        _, writer = await asyncio.open_connection(self.host, self.port)
        lines = (
            "POST /predict HTTP/1.1",
            f"Host: {self.host}",
            "Content-Type: application/json",
            "Content-Length: 4096",
        )
        head = "".join(f"{line}\r\n" for line in (*lines, ""))
        try:
            writer.write(head.encode())
            while True:
                with suppress(ConnectionError):
                    writer.write(b" ")
                    await writer.drain()
                await asyncio.sleep(1)
        finally:
            writer.close()


def beside_slow_clients(
    address: Address, host: str, port: int, texts: Sequence[str], slow: int, seconds: float
) -> Load:
    """Eight clients as in `with_clients`, beside `slow` ones."""

    async def both() -> Load:
        load = Load(1)
        async with SlowClients(host, port, slow):
            await _closed(address.url, address.bodies(texts, 1), 8, seconds, load)
        return load

    return asyncio.run(both())
