"""A fake Hugging Face hub in memory, with the HTTP requests that its client makes to upload a folder."""

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

LARGE = (".safetensors", ".parquet", ".onnx")
"""Suffixes of what is uploaded apart from the commit (LFS)."""


@dataclass
class Hub:
    """Its address; repositories with their files and whether they are private; tokens that it was shown.

    Requests whose path contains `refused` are answered with 403.
    """

    token: str
    address: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    refused: str | None = None

    def environment(self) -> dict[str, str]:
        """Environment variables that bring the hub's client here. Xet, a protocol of its own, is turned off."""
        return {
            "HF_ENDPOINT": self.address,
            "HF_TOKEN": self.token,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """The hub at an address of this machine."""

    class Handler(_Handler):
        served = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    served: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body, (parts, _) = self._body(), self._asked()
        match parts:
            case ["api", "models", org, name, "tree", _]:
                files = self.served.files[f"{org}/{name}"]
                self._answer([_entry(path, content) for path, content in files.items()])
            case [org, name, "resolve", "main", *path] if "/".join(path) in self.served.files[f"{org}/{name}"]:
                self._file(self.served.files[f"{org}/{name}"]["/".join(path)])
            case _:
                self._answer({"error": f"no such page: {self.path} {len(body)}"}, 404)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        content = self._body()
        self.served.objects[hashlib.sha256(content).hexdigest()] = content
        self._answer({})

    def do_POST(self) -> None:
        body, (parts, refused) = self._body(), self._asked()
        if refused:
            self._answer({"error": "you may not write here"}, 403)
            return
        match parts:
            case ["api", "repos", "create"]:
                self._create(json.loads(body))
            case ["api", "validate-yaml"]:
                self._answer({"errors": [], "warnings": []})
            case ["api", "models", _, _, "preupload", "main"]:
                files = json.loads(body)["files"]
                modes = [
                    {"path": file["path"], "uploadMode": _mode(file["path"]), "shouldIgnore": False} for file in files
                ]
                self._answer({"files": modes})
            case [_, _, "info", "lfs", "objects", "batch"]:
                self._batch(json.loads(body)["objects"])
            case ["api", "models", org, name, "commit", "main"]:
                self._commit(f"{org}/{name}", [json.loads(line) for line in body.splitlines()])
            case _:
                self._answer({"error": f"no such page: {self.path}"}, 404)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _create(self, asked: dict[str, Any]) -> None:
        repository = f"{asked['organization']}/{asked['name']}"
        known = repository in self.served.files
        if not known:
            self.served.files[repository] = {".gitattributes": b""}
            self.served.private[repository] = asked.get("private", asked.get("visibility") == "private")
        self._answer({"url": f"{self.served.address}/{repository}", "error": "exists"}, 409 if known else 200)

    def _batch(self, objects: list[dict[str, Any]]) -> None:
        answers = []
        for wanted in objects:
            upload = {"upload": {"href": f"{self.served.address}/objects/{wanted['oid']}"}}
            answers.append(wanted if wanted["oid"] in self.served.objects else wanted | {"actions": upload})
        self._answer({"transfer": "basic", "objects": answers})

    def _commit(self, repository: str, lines: list[dict[str, Any]]) -> None:
        files = self.served.files[repository]
        for line in lines:
            value = line["value"]
            match line["key"]:
                case "header":
                    self.served.commits.append(value["summary"])
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    files[value["path"]] = self.served.objects[value["oid"]]
                case "deletedFile":
                    del files[value["path"]]
        self._answer({"commitUrl": f"{self.served.address}/{repository}/commit/{'0' * 40}", "commitOid": "0" * 40})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _asked(self) -> tuple[list[str], bool]:
        """The parts of the path, and whether it is refused."""
        path = self.path.partition("?")[0]
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.served.tokens.add(token)
        denied = token != self.served.token or (self.served.refused is not None and self.served.refused in path)
        return path.strip("/").split("/"), denied

    def _file(self, content: bytes) -> None:
        self.send_response(200)
        headers = {"Content-Length": str(len(content)), "X-Repo-Commit": "0" * 40}
        for name, value in (headers | {"ETag": f'"{hashlib.sha1(content).hexdigest()}"'}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def _answer(self, content: Any, status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _mode(path: str) -> str:
    return "lfs" if path.endswith(LARGE) else "regular"


def _entry(path: str, content: bytes) -> dict[str, Any]:
    return {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
