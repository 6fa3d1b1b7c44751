"""Checkpoints are written atomically."""

import resource
import signal
import zipfile
from pathlib import Path

import pytest
import torch

from chirplet.callback.lightning.interruption import DurableCheckpointIO, RandomState
from chirplet.system.error import ArtifactError


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


def test_what_a_gpu_saved_is_read_where_there_is_none(tmp_path):
    here, there = tmp_path / "cpu.ckpt", tmp_path / "cuda.ckpt"
    DurableCheckpointIO().save_checkpoint({"w": torch.arange(3)}, here)
    with zipfile.ZipFile(here) as saved, zipfile.ZipFile(there, "w") as moved:
        for name in saved.namelist():
            # In the pickle, the place of a tensor is a string with its length before it.
            moved.writestr(name, saved.read(name).replace(b"\x03\x00\x00\x00cpu", b"\x07\x00\x00\x00cuda:63"))
    loaded = DurableCheckpointIO().load_checkpoint(there)
    assert loaded["w"].device.type == "cpu"
    assert loaded["w"].tolist() == [0, 1, 2]


def test_of_the_random_states_of_several_gpus_one_resumes_with_its_own(monkeypatch):
    states = [torch.full((16,), number, dtype=torch.uint8) for number in range(2)]
    given = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_rng_state", given.append)
    callback = RandomState()
    callback.load_state_dict({"cpu": torch.get_rng_state(), "cuda": states})
    callback.on_train_start(None, None)
    assert [state.tolist() for state in given] == [[0] * 16]


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
