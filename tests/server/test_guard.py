"""The token, full queues, clients that leave, and models that are reopened."""

import asyncio
import logging
import shutil
import socket
from threading import Event

import httpx
import pytest

from artifacts import tiny_artifact
from checkpoints import tiny_bert
from chirplet.artifact.artifact import Artifact
from chirplet.server.answers import OpenModel
from chirplet.server.limits import Limits
from records import make_record
from serving import LIMITS, open_model, serving

TOKEN = "secret-token"


@pytest.fixture(scope="module")
def guarded(folder):
    with serving({"tiny": folder}, TOKEN) as url, httpx.Client(base_url=url) as client:
        yield client


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", b"Bearer \xff"]
)
def test_without_the_token_nothing_is_answered(guarded, header):
    headers = {} if header is None else {"Authorization": header}
    for method, path in (
        ("POST", "/predict"),
        ("GET", "/models"),
        ("GET", "/metrics"),
        ("POST", "/models/tiny/reload"),
    ):
        answer = guarded.request(method, path, headers=headers, json={"inputs": "a"} if method == "POST" else None)
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
        assert TOKEN not in answer.text and list(answer.json()) == ["error"]


def test_with_the_token_all_is_answered_and_health_needs_none(guarded):
    for scheme in ("Bearer", "bearer"):
        assert guarded.post("/predict", json={"inputs": "a"}, headers={"Authorization": f"{scheme} {TOKEN}"}).is_success
    assert guarded.get("/health").is_success


class Held(OpenModel):
    """A model that waits before it answers."""

    begun, go = Event(), Event()

    def answers(self, texts):
        self.begun.set()
        self.go.wait()
        return super().answers(texts)


def held(folder):
    opened = open_model(folder)
    return Held(opened.artifact, opened.predictor)


def unread(url):
    """The first line of the answer to a request whose body is never sent."""
    address = httpx.URL(url)
    with socket.create_connection((address.host, address.port), timeout=60) as connection:
        connection.sendall(b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        return connection.makefile("rb").readline()


def test_a_full_queue_refuses_and_a_client_that_leaves_frees_its_place(folder):
    with serving({"held": folder}, limits=Limits(64, 400, 0.1, queue=1), opening=held) as url:

        async def scenario():
            async with httpx.AsyncClient(base_url=url, timeout=None) as client:

                async def ask():  # more than a batch
                    return await client.post("/predict", json={"inputs": ["a"] * 64})

                async def refused():
                    return (await ask()).status_code == 429

                first = asyncio.create_task(ask())
                await asyncio.to_thread(Held.begun.wait)
                second = asyncio.create_task(ask())
                while 'chirplet_queue_requests{model="held"} 2.0' not in (await client.get("/metrics")).text:
                    await asyncio.sleep(0)
                full = await ask()
                assert full.status_code == 429 and full.headers["retry-after"] == "1" and "stage.queue" in full.text
                assert b" 429 " in await asyncio.to_thread(unread, url)
                second.cancel()
                while 'outcome="left"} 1.0' not in (await client.get("/metrics")).text:
                    await asyncio.sleep(0)
                third = asyncio.create_task(ask())
                while 'chirplet_queue_requests{model="held"} 2.0' not in (await client.get("/metrics")).text:
                    await asyncio.sleep(0)
                table = asyncio.create_task(client.post("/v1/table", content="text\na\n" * 40))  # waits its turn
                while 'chirplet_queue_requests{model="held"} 3.0' not in (await client.get("/metrics")).text:
                    await asyncio.sleep(0)
                Held.go.set()
                return [(await one).status_code for one in (first, third, table)]

        assert asyncio.run(scenario()) == [200, 200, 200]


class Failing(OpenModel):
    """A model that fails for one text."""

    def answers(self, texts):
        if "bad" in texts:
            raise RuntimeError(f"cannot read {texts}")
        return super().answers(texts)


def test_a_failing_model_answers_500_and_says_nothing_of_the_text(folder, caplog):
    def failing(place):
        opened = open_model(place)
        return Failing(opened.artifact, opened.predictor)

    with (
        caplog.at_level(logging.DEBUG),
        serving({"failing": folder}, opening=failing) as url,
        httpx.Client(base_url=url) as client,
    ):
        answer = client.post("/v1/classify", json={"texts": ["some words", "bad"]})
        assert answer.status_code == 500 and "bad" not in answer.text
        assert client.post("/v1/classify", json={"texts": ["some words"]}).is_success
    said = "\n".join(record.getMessage() for record in caplog.records)
    assert "failing: a request of 2 texts failed: RuntimeError" in said
    assert "some words" not in said and "Traceback" not in caplog.text


def test_reload_needs_a_server_with_a_token(folder):
    with serving({"tiny": folder}) as url:
        answer = httpx.post(f"{url}/models/tiny/reload")
    assert answer.status_code == 403 and "CHIRPLET_SERVE_TOKEN" in answer.text


def verified(folder):
    return OpenModel.open(Artifact.open(folder), "cpu", 1, verify=True)


def test_a_replaced_artifact_is_served_unless_it_fails_its_probe(folder, tmp_path):
    served = tmp_path / "served"
    shutil.copytree(folder, served)
    better = tiny_artifact(tiny_bert(tmp_path / "base"), tmp_path / "better", make_record(id="b" * 64))
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with (
        serving({"x/y": served}, TOKEN, LIMITS, verified) as url,
        httpx.Client(base_url=url, headers=headers) as client,
    ):

        def answering():
            return client.post("/v1/classify", json={"texts": ["a"]}).json()["id"]

        before = answering()
        probe = (better / "probe.json").read_text()
        (better / "probe.json").write_text(
            probe.replace('"logits": [[', '"logits": [[1e3, ', 1).replace("1e3, ", "1e3")
        )
        shutil.rmtree(served)
        shutil.copytree(better, served)
        answer = client.post("/models/x/y/reload")
        assert answer.status_code == 422 and "goes on as it was" in answer.text
        assert answering() == before
        (served / "probe.json").write_text(probe)
        assert client.post("/models/x/y/reload").json()["id"] == answering() == "b" * 64
        assert client.post("/models/z/reload").status_code == 404
