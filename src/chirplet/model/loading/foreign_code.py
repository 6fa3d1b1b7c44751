"""Code that a checkpoint's configuration would have fetched and run."""

import json
from pathlib import Path
from typing import Any

from chirplet.system.error import ModelError


def refuse_code(folder: Path) -> None:
    """See that `config.json` names no attention kernel of the hub: transformers runs those without being asked twice.

    `auto_map` needs no look: nothing here is opened with trust in remote code. What is no JSON is for whoever opens
    it to tell.

    Raises:
        ModelError: it names one.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return
    kernel = next(filter(None, map(_kernel, _items(config))), None)
    if kernel is not None:
        raise ModelError(
            f"{folder / 'config.json'}: names {kernel!r}, code of the hub, as its attention; take that out"
        )


def _items(node: Any) -> list[tuple[str, Any]]:
    """Every key and value, of configurations within configurations too."""
    own = list(node.items()) if isinstance(node, dict) else []
    return own + [item for _, value in own for item in _items(value)]


def _kernel(item: tuple[str, Any]) -> str | None:
    key, value = item
    named = key.endswith(("attn_implementation", "attn_implementation_internal"))
    return next((text for text in _texts(value) if "/" in text), None) if named else None


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for part in value.values() for text in _texts(part)]
    return [value] if isinstance(value, str) else []
