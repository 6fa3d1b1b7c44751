"""SHA-256 of files, folders, texts and values, in hexadecimal digits."""

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any


def file_hash(*paths: Path) -> str:
    """Of the files' bytes, one after another."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def folder_hash(files: Iterable[Path], root: Path) -> str:
    """Of the files' names below `root` and their bytes, in the order given."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(bytes.fromhex(file_hash(path)))
    return digest.hexdigest()


def texts_hash(texts: Iterable[str]) -> str:
    """Of the texts in their order, with a mark after each."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()


def json_hash(value: Any, default: Callable[[Any], Any] | None = None) -> str:
    """Of a value as JSON, whatever the order of its keys; `default` writes what JSON has not."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=default).encode()).hexdigest()
