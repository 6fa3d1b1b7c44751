"""The process group of distributed training."""

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
"""Timeout of collective operations. What the first process does alone, for example a checkpoint, takes less."""


@contextmanager
def joined(run: Run, meeting: Path, shard: Shard, threads: int, loaders: Sequence[DataLoader[Any]]) -> Iterator[None]:
    """Join the process group in the folder `meeting`, on `threads` CPU threads, with `loaders` serving `shard`."""
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
    """Make Gloo listen on the loopback interface only, unless the user chose an interface."""
    name = "GLOO_SOCKET_IFNAME"
    interfaces = [interface for _, interface in socket.if_nameindex() if interface in {"lo", "lo0"}]
    if name in os.environ or not interfaces:
        yield
        return
    os.environ[name] = interfaces[0]
    try:
        yield
    finally:
        del os.environ[name]
