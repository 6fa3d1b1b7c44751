"""Where the files of an artifact's data are on this machine: `local.json`, beside the artifact's folder.

It holds absolute paths, so it is no part of the artifact, and is never uploaded.
"""

import json
import logging
from pathlib import Path
from typing import Any

from chirplet.artifact.artifact import Artifact
from chirplet.config.schema import as_list
from chirplet.data.base import Source
from chirplet.system.atomic_io import write_text_atomically

LOCAL = "local.json"

logger = logging.getLogger(__name__)


def write_local_files(artifact: Artifact, source: Source) -> None:
    """Write where the files of `source`, which the artifact was made from, are; nothing if it names none."""
    paths = {name: _absolute(getattr(source, name)) for name in source.paths if getattr(source, name) is not None}
    if not paths:
        return
    content = {"fingerprint": artifact.record.data.fingerprint, "data": paths}
    path = artifact.folder.parent / LOCAL
    try:
        write_text_atomically(json.dumps(content, indent=2, ensure_ascii=False) + "\n", path)
    except OSError as error:
        logger.warning("%s: not written (%s); later stages will ask for the data's files", path, error.strerror)


def read_local_files(artifact: Artifact) -> dict[str, Any]:
    """The absolute path or paths of each setting of the data; empty if they are not known, or of other texts."""
    try:
        content = json.loads((artifact.folder.absolute().parent / LOCAL).read_text(encoding="utf-8"))
        same = content["fingerprint"] == artifact.record.data.fingerprint
        paths = {name: value for name, value in content["data"].items() if all(map(_is_path, as_list(value)))}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
    return paths if same else {}


def _absolute(paths: str | list[str]) -> str | list[str]:
    absolute = [str(Path(path).expanduser().absolute()) for path in as_list(paths)]
    return absolute[0] if isinstance(paths, str) else absolute


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and Path(value).is_absolute()
