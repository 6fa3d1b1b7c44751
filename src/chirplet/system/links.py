"""Symbolic links in untrusted folders."""

import os
from pathlib import Path


def link_outside(folder: Path, *, hub_cache: bool) -> str | None:
    """The first symbolic link below `folder` that does not point to a file in it; None if there is none.

    With a link, an untrusted artifact could read any file of this machine. The Hugging Face hub's cache keeps the files
    of a snapshot in the model's folder `blobs` and links to them, which `hub_cache` allows.
    """
    root = Path(os.path.realpath(folder))
    # `blobs` is not resolved, because it may be a link too.
    blobs = root.parents[1] / "blobs" if hub_cache and root.parent.name == "snapshots" else None
    for path in sorted(root.rglob("*")):
        if path.is_symlink():
            target = Path(os.path.realpath(path))
            if not (target.is_file() and (target.is_relative_to(root) or target.parent == blobs)):
                return path.relative_to(root).as_posix()
    return None
