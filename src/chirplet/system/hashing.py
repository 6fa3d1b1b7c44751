"""SHA-256 digests of files, folders, texts and values, in hexadecimal."""

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any


def file_hash(*paths: Path) -> str:
    """Digest of the files' concatenated bytes."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def folder_hash(files: Iterable[Path], root: Path) -> str:
    """Digest of the files' paths relative to `root` and their bytes, in the given order."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(bytes.fromhex(file_hash(path)))
    return digest.hexdigest()


def texts_hash(texts: Iterable[str]) -> str:
    """Digest of the texts in order, each followed by a zero byte."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()


def json_hash(value: Any, default: Callable[[Any], Any] | None = None) -> str:
    """Digest of a value as JSON with sorted keys; `default` converts values that JSON lacks, as in `json.dumps`."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=default).encode()).hexdigest()
