"""Start the servers that `benchmarks/serve.py` compares, on the loopback interface."""

import http.client
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from measuring import ROOT
from serving_load import Address

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Server:
    """A running server."""

    name: str
    port: int
    address: Address
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def memory_mb(self) -> float:
        """Resident memory of the process and its children."""
        process = psutil.Process(self.process.pid)
        return sum(one.memory_info().rss for one in (process, *process.children(recursive=True))) / 1e6


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as listening:
        listening.bind((HOST, 0))
        port: int = listening.getsockname()[1]
        return port


@contextmanager
def served(name: str, command: list[str], port: int, address: Address, scratch: Path) -> Iterator[Server]:
    """Start a server, wait until it is ready, and end it."""
    log = scratch / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, env=os.environ)
    try:
        deadline = time.monotonic() + 180
        while not _healthy(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{name} does not answer: {log.read_text(encoding='utf-8')[-2000:]}")
            time.sleep(0.1)
        yield Server(name, port, address, process, log)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _healthy(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
