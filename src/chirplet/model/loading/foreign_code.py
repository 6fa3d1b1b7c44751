"""Refuse checkpoints whose configuration would download and run code."""

import json
from pathlib import Path
from typing import Any

from chirplet.system.error import ModelError


def refuse_code(folder: Path) -> None:
    """Check that `config.json` names no attention kernel of the hub, which transformers would download and run.

    `auto_map` is not checked, since chirplet opens nothing with `trust_remote_code`. A damaged file is not reported
    here, since opening it does.

    Raises:
        ModelError: it names a kernel.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return
    kernel = next(filter(None, map(_kernel, _items(config))), None)
    if kernel is not None:
        raise ModelError(
            f"{folder / 'config.json'}: got the attention {kernel!r}, which is code of the hub; remove that key"
        )


def _items(node: Any) -> list[tuple[str, Any]]:
    """Every key and value, nested ones included."""
    outer = list(node.items()) if isinstance(node, dict) else []
    return outer + [item for _, value in outer for item in _items(value)]


def _kernel(item: tuple[str, Any]) -> str | None:
    key, value = item
    named = key.endswith(("attn_implementation", "attn_implementation_internal"))
    return next((text for text in _texts(value) if "/" in text), None) if named else None


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for part in value.values() for text in _texts(part)]
    return [value] if isinstance(value, str) else []
