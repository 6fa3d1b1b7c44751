"""`stage=serve` from the command line: what it refuses before a model is opened, and how it ends."""

import os
import re
import signal
import socket
import time

import httpx
import pytest

from artifacts import tiny_artifact
from checkpoints import tiny_bert
from chirplet.cli.experiment import execute
from chirplet.stage.serve import token_of_environment
from chirplet.system.error import ConfigError
from forked import Command


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("serve")
    return tiny_artifact(tiny_bert(place / "base"), place / "artifact")


@pytest.mark.parametrize(
    ("overrides", "error"),
    [
        ([], "artifact: is missing; give artifact=DIR, or several: artifacts='outputs/**/artifact'"),
        (["artifacts=[]"], "artifact: is missing"),
        (["artifact={folder}", "artifacts={folder}"], "artifact: should be left out with artifacts="),
    ],
)
def test_one_of_the_two_keys_names_artifacts(folder, compose_config, tmp_path, overrides, error):
    config = compose_config("stage=serve", *(one.format(folder=folder) for one in overrides))
    with pytest.raises(ConfigError, match=re.escape(error)):
        execute(config, tmp_path)


@pytest.mark.parametrize("token", ["", "two words", "é"])
def test_a_token_that_no_header_can_have_is_refused(monkeypatch, token):
    monkeypatch.setenv("CHIRPLET_SERVE_TOKEN", token)
    with pytest.raises(ConfigError, match="CHIRPLET_SERVE_TOKEN: should be ASCII characters without spaces"):
        token_of_environment()


def test_a_signal_ends_it_when_all_is_answered(folder, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    run = Command(
        "stage=serve",
        f"artifacts=[{folder}]",
        "stage.host=0.0.0.0",
        f"stage.port={port}",
        "trainer.threads=1",
        f"hydra.run.dir={tmp_path}/run",
    )
    while not connects(port):
        assert run.process.is_alive()
    assert httpx.get(f"http://127.0.0.1:{port}/health").json() == {"status": "ready", "models": 1}
    with socket.create_connection(("127.0.0.1", port)) as asking:
        asking.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 15\r\nExpect: 100-continue\r\n\r\n")
        assert asking.recv(4096).startswith(b"HTTP/1.1 100")  # the server reads the body
        os.kill(run.pid, signal.SIGTERM)
        while connects(port):
            pass
        asking.sendall(b'{"inputs": "a"}')
        answer = b""
        while part := asking.recv(4096):
            answer += part
    ended = run.end()
    assert answer.startswith(b"HTTP/1.1 200") and b'"score"' in answer
    assert ended.returncode == 0
    assert f"serving   http://0.0.0.0:{port}" in ended.stdout
    assert "stage.host: other machines reach 0.0.0.0, and without CHIRPLET_SERVE_TOKEN all may ask" in ended.stderr


def connects(port: int) -> bool:
    time.sleep(0.05)
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True
