"""`stage=serve` compared with the server that tutorials show, and how it behaves beyond its capacity.

`python benchmarks/serve.py` fine-tunes MiniLM on the default texts and quantizes it (or takes `--model ARTIFACT`, an
artifact of ONNX Runtime, and `--fp32 ARTIFACT`, the one it was made from), and starts three servers on the loopback
interface: `stage=serve` with the model, `serving_tutorial.py` with the fp32 one, and infinity-emb with the fp32 one if
`--infinity PYTHON` names the interpreter of an environment that has it (0.0.77 ran with torch 2.13, transformers 4.48,
sentence-transformers 3.4, optimum 1.24 and numpy 1.26). Clients and server share the CPU. `--quick` measures for a
second where the full run measures for eight, and sends 5,000 requests instead of 200,000.
"""

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from measuring import ROOT, Figures, figure
from serving_load import HANGING, Address, Load, at_rate, beside_slow_clients, with_clients
from serving_process import HOST, Server, free_port, served

import chirplet
from chirplet.system.hardware import cpu_cores, cpu_name

CLIENTS = (1, 8, 64, 256)
P95_MS = 50.0
BATCH = 32
"""Texts per request where the server is compared with the predictor alone."""


def closed_loops(servers: list[Server], texts: list[str], seconds: float) -> tuple[Figures, dict[str, Any]]:
    """Texts per second and p95 with a fixed number of clients, interleaved."""
    figures: Figures = []
    rates: dict[str, Any] = {server.name: {} for server in servers}
    for clients in CLIENTS:
        for server in servers:
            load = with_clients(server.address, texts, clients, seconds)
            rates[server.name][clients] = dict(load.statuses)
            figures.append(figure(f"{server.name}, {clients} clients: texts/s", load.texts_per_s, "texts/s"))
            figures.append(figure(f"{server.name}, {clients} clients: p95", load.p95, "ms"))
    return figures, rates


def accepts(load: Load) -> bool:
    """Whether 95% of all requests were answered within `P95_MS`; those that were refused were not."""
    return load.share_within(P95_MS) >= 0.95


def capacity(server: Server, texts: list[str], seconds: float, steps: int) -> tuple[float, Load]:
    """The highest rate of arrivals, in texts/s, with p95 <= 50 ms, within a few percent, and its load.

    The rate is doubled until one is refused; between that and the last accepted one it is searched by halves, and the
    result is measured again.
    """
    good, bad, best = 0.0, None, None
    rate = 8.0
    for _ in range(steps):
        load = at_rate(server.address, texts, rate, seconds)
        if accepts(load):
            good, best = rate, load
        else:
            bad = rate
        time.sleep(0.5)
        if bad is not None and bad - good < 0.04 * bad:
            break
        rate = 2 * rate if bad is None else (good + bad) / 2
    return good, best if best is not None else Load(1)


def overload(server: Server, texts: list[str], rate: float, at_capacity: Load, seconds: float) -> Figures:
    """Three times the rate that the server can answer."""
    load = at_rate(server.address, texts, 3 * rate, seconds, seed=1)
    answered = sum(load.statuses.values())
    other = answered - load.statuses[200] - load.statuses[429] - load.statuses[HANGING]
    return [
        figure("three times the capacity: answered 200", load.statuses[200] / answered, "of the requests"),
        figure("three times the capacity: answered 429", load.statuses[429] / answered, "of the requests"),
        figure("three times the capacity: no answer", load.statuses[HANGING], "requests", at_most=0),
        figure("three times the capacity: another status", other, "requests", at_most=0),
        figure("three times the capacity: p95 of accepted requests", load.p95 / at_capacity.p95,
               "times the p95 at capacity", at_most=2),
    ]  # fmt: skip


def overhead(server: Server, model: Path, texts: list[str], seconds: float, rounds: int) -> Figures:
    """Requests of 32 texts, two at a time, compared with the same batches given to the predictor in this process."""
    predictor = chirplet.load(model, batch_size=BATCH)
    batches = [texts[start : start + BATCH] for start in range(0, len(texts) - BATCH + 1, BATCH)]
    shares = []
    for _ in range(rounds):
        load = with_clients(server.address, texts, 2, seconds, BATCH)
        started, done = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            predictor(batches[done % len(batches)])
            done += 1
        shares.append(load.texts_per_s / (done * BATCH / (time.perf_counter() - started)))
    return [figure("requests of 32 texts: texts/s", sorted(shares)[rounds // 2], "of the predictor's", at_least=0.85)]


def memory(server: Server, texts: list[str], requests: int) -> Figures:
    """Memory after many requests, compared with that after a tenth of them."""
    sent, early = 0, None
    while sent < requests:
        sent += with_clients(server.address, texts, 64, 2.0).statuses[200]
        if early is None and sent >= requests / 10:
            early = server.memory_mb
    late = server.memory_mb
    assert early is not None
    return [
        figure(f"memory after {requests:,} requests", late, "MB"),
        figure(f"memory after {requests:,} requests", late / early, "of that after a tenth", at_most=1.05),
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
KEYS = st.sampled_from(["inputs", "texts", "text", "model", "label", "parameters"])
BODIES = st.one_of(
    st.binary(max_size=200),
    JSON.map(lambda value: json.dumps(value).encode()),
    st.dictionaries(KEYS, JSON, max_size=4).map(lambda value: json.dumps(value).encode()),
    st.just(b"[" * 100_000),
)
KINDS = st.sampled_from(["application/json", "text/csv", "text/plain", "application/octet-stream", ""])


def garbage(server: Server, examples: int) -> Figures:
    """Random bodies to every route of the server's own description."""
    connection = http.client.HTTPConnection(HOST, server.port, timeout=30)
    connection.request("GET", "/openapi.json")
    described = json.loads(connection.getresponse().read())["paths"]
    connection.close()
    paths = sorted(path for path, methods in described.items() if "post" in methods and "reload" not in path)
    statuses: dict[int, int] = {}

    @settings(
        max_examples=examples, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.sampled_from(paths), BODIES, KINDS)
    def send(path: str, body: bytes, kind: str) -> None:
        one = http.client.HTTPConnection(HOST, server.port, timeout=30)
        try:
            one.request("POST", path.replace("{name}", "a%2Fb"), body, {"Content-Type": kind})
            status = one.getresponse().status
        except OSError:
            status = HANGING
        finally:
            one.close()
        statuses[status] = statuses.get(status, 0) + 1

    send()
    failed = sum(count for status, count in statuses.items() if status >= 500 or status == HANGING)
    tracebacks = server.log.read_text(encoding="utf-8").count("Traceback")
    return [
        figure(f"{sum(statuses.values())} garbage bodies: 5xx or no answer", failed, "requests", at_most=0),
        figure("tracebacks in the log", tracebacks, "", at_most=0),
    ]


def made(scratch: Path) -> tuple[Path, Path]:
    """MiniLM on the default texts, in fp32 and as `onnx_int8`."""
    parent, model = scratch / "parent", scratch / "int8"
    for output, overrides in (
        (parent, ["stage=finetune"]),
        (model, ["stage=quantize", f"artifact={parent}/artifact"]),
    ):
        command = [sys.executable, "run.py", *overrides, "stage.measure_cost=false", f"hydra.run.dir={output}"]
        subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=True)
    return model / "artifact", parent / "artifact"


def main() -> None:
    """Start the servers, measure, and print the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="an artifact of ONNX Runtime")
    parser.add_argument("--fp32", type=Path, help="the artifact of PyTorch that it was made from")
    parser.add_argument("--infinity", type=Path, help="a Python interpreter that has infinity-emb")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    seconds, rounds, requests = (1.0, 1, 5_000) if arguments.quick else (8.0, 3, 200_000)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        scratch = Path(folder)
        if (arguments.model is None) != (arguments.fp32 is None):
            parser.error("--model and --fp32 go together")
        model, fp32 = (
            made(scratch) if arguments.model is None else (arguments.model.resolve(), arguments.fp32.resolve())
        )
        texts = _texts()

        def start(name: str, command: list[str], path: str = "/predict", **named: str) -> Server:
            port = free_port()
            filled = [part.replace("PORT", str(port)) for part in command]
            address = Address(f"http://{HOST}:{port}{path}", **named)
            return stack.enter_context(served(name, filled, port, address, scratch))

        ours = start("chirplet", [sys.executable, "run.py", "stage=serve", f"artifact={model}", "stage.port=PORT",
                                  f"hydra.run.dir={scratch}/serve"])  # fmt: skip
        others = [start("tutorial", [sys.executable, "benchmarks/serving_tutorial.py", str(fp32), "PORT"])]
        figures, statuses = closed_loops([ours, *others], texts, seconds)
        if arguments.infinity:
            figures += infinity(arguments.infinity, fp32, texts, seconds, start)
        rate, at_capacity = capacity(ours, texts, seconds, 24)
        tutorial, _ = capacity(others[0], texts, seconds, 24)
        figures += [
            figure("chirplet: arrivals with p95 <= 50 ms", rate, "texts/s"),
            figure("tutorial: arrivals with p95 <= 50 ms", tutorial, "texts/s"),
            figure("arrivals with p95 <= 50 ms", rate / tutorial if tutorial else 0, "times the tutorial's",
                   at_least=8),
        ]  # fmt: skip
        for server in others:
            server.process.terminate()
        figures += overload(ours, texts, rate, at_capacity, seconds)
        figures += overhead(ours, model, texts, seconds, rounds)
        alone = with_clients(ours.address, texts, 8, seconds)
        slow = beside_slow_clients(ours.address, HOST, ours.port, texts, 200, seconds)
        figures.append(figure("8 clients beside 200 slow ones: p95", slow.p95 / alone.p95, "times that without",
                              at_most=1.5))  # fmt: skip
        figures += garbage(ours, 200 if arguments.quick else 2_000)
        figures += memory(ours, texts, requests)
    context = {
        "cpu": cpu_name(),
        "threads": cpu_cores(),
        "versions": {name: version(name) for name in ("fastapi", "uvicorn", "onnxruntime", "transformers", "aiohttp")},
        "data": "vader_tweets",
        "statuses": statuses,
        "quick": arguments.quick,
    }
    print(json.dumps({"figures": figures, "context": context}))


def infinity(python: Path, fp32: Path, texts: list[str], seconds: float, start: Any) -> Figures:
    """The rate of infinity-emb's classifier."""
    os.environ["DO_NOT_TRACK"] = "1"  # it would report to its makers
    command = [str(python.with_name("infinity_emb")), "v2", "--model-id", str(fp32), "--host", HOST, "--port", "PORT",
               "--engine", "torch", "--device", "cpu", "--no-bettertransformer"]  # fmt: skip
    server = start("infinity", command, "/classify", key="input", model=fp32.name)
    figures: Figures = []
    for clients in CLIENTS:
        load = with_clients(server.address, texts, clients, seconds)
        figures.append(figure(f"infinity, {clients} clients: texts/s", load.texts_per_s, "texts/s"))
        figures.append(figure(f"infinity, {clients} clients: p95", load.p95, "ms"))
    rate, _ = capacity(server, texts, seconds, 24)
    server.process.terminate()
    return [*figures, figure("infinity: arrivals with p95 <= 50 ms", rate, "texts/s")]


def _texts() -> list[str]:
    from inference import corpus_of

    return corpus_of([]).test.text


if __name__ == "__main__":
    main()
