"""Checkpoints are whole or absent."""

import resource
import signal
from pathlib import Path

import pytest
import torch

from chirplet.callback.durable import DurableCheckpointIO
from chirplet.error import ArtifactError


def test_what_is_saved_is_read_back(tmp_path):
    path = tmp_path / "checkpoints" / "last.ckpt"
    DurableCheckpointIO().save_checkpoint({"state_dict": {"w": torch.arange(3)}, "epoch": 2}, path)
    loaded = DurableCheckpointIO().load_checkpoint(path)
    assert loaded["epoch"] == 2
    assert loaded["state_dict"]["w"].tolist() == [0, 1, 2]


def test_a_pickled_object_is_refused_even_when_unsafe_loading_is_asked_for(tmp_path):
    path = tmp_path / "evil.ckpt"
    torch.save({"module": torch.nn.Linear(1, 1)}, path)
    with pytest.raises(Exception, match=r"weights_only|Weights only"):
        DurableCheckpointIO().load_checkpoint(path, weights_only=False)


def test_a_full_disk_leaves_the_previous_checkpoint_and_nothing_torn(tmp_path):
    path = tmp_path / "last.ckpt"
    DurableCheckpointIO().save_checkpoint({"epoch": 1}, path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(ArtifactError, match=r"could not write the checkpoint .*last\.ckpt"):
            DurableCheckpointIO().save_checkpoint({"w": torch.zeros(1_000_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    assert DurableCheckpointIO().load_checkpoint(path) == {"epoch": 1}
    assert [found.name for found in Path(tmp_path).iterdir()] == ["last.ckpt"]
