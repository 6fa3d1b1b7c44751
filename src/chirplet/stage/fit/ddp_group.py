"""The process group of a training in several processes."""

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.utils.data import DataLoader

from chirplet.data.batching.batches import Collate, Shard
from chirplet.stage.run.context import Run

ANSWER = timedelta(minutes=30)
"""How long a process waits for another one that lives: what the first does alone, such as a checkpoint, takes less."""


@contextmanager
def joined(run: Run, meeting: Path, shard: Shard, threads: int, loaders: Sequence[DataLoader[Any]]) -> Iterator[None]:
    """This process in a group with the others, its loaders serving its share, on so many CPU threads."""
    before = torch.get_num_threads()
    gpu = run.trainer.device().type == "cuda"
    store = distributed.FileStore(str(meeting / "store"), shard.processes)  # type: ignore[attr-defined]
    with _loopback():
        distributed.init_process_group(
            "nccl" if gpu else "gloo",
            store=store,
            rank=shard.rank,
            world_size=shard.processes,
            timeout=ANSWER,
            device_id=torch.device("cuda", shard.rank) if gpu else None,
        )
    torch.set_num_threads(threads)
    try:
        for loader in loaders:
            _collate(loader).shard = shard
        yield
    finally:
        for loader in loaders:
            _collate(loader).shard = None
        torch.set_num_threads(before)
        distributed.destroy_process_group()


def _collate(loader: DataLoader[Any]) -> Collate:
    assert isinstance(loader.collate_fn, Collate)
    return loader.collate_fn


@contextmanager
def _loopback() -> Iterator[None]:
    """Let Gloo listen where this machine alone can reach it, unless the user chose an interface."""
    name = "GLOO_SOCKET_IFNAME"
    found = [interface for _, interface in socket.if_nameindex() if interface in {"lo", "lo0"}]
    if name in os.environ or not found:
        yield
        return
    os.environ[name] = found[0]
    try:
        yield
    finally:
        del os.environ[name]
