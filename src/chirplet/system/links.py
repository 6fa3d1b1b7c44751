"""Symbolic links in folders that came from elsewhere."""

import os
from pathlib import Path


def link_outside(folder: Path, *, hub_cache: bool) -> str | None:
    """The first symbolic link below `folder` that leads to anything but a file of it; None where there is none.

    A stranger's artifact could name any file of this machine by one. The cache of the Hugging Face hub keeps a
    snapshot's files in a folder of that model, `blobs`, and links to them: `hub_cache` allows these.
    """
    root = Path(os.path.realpath(folder))
    # Not resolved itself: it may be a link too.
    blobs = root.parents[1] / "blobs" if hub_cache and root.parent.name == "snapshots" else None
    for path in sorted(root.rglob("*")):
        if path.is_symlink():
            target = Path(os.path.realpath(path))
            if not (target.is_file() and (target.is_relative_to(root) or target.parent == blobs)):
                return path.relative_to(root).as_posix()
    return None
