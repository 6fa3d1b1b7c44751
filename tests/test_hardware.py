"""What is told of the CPU is what the kernel and torch tell."""

import platform

import pytest
import torch

from chirplet import hardware
from chirplet.error import ConfigError


@pytest.fixture
def cpuinfo(tmp_path, monkeypatch):
    path = tmp_path / "cpuinfo"
    monkeypatch.setattr(hardware, "_CPUINFO", path)
    for function in (hardware.cpu_flags, hardware.cpu_name):
        function.cache_clear()
    yield path
    for function in (hardware.cpu_flags, hardware.cpu_name):
        function.cache_clear()


def test_flags_and_name_of_the_first_cpu(cpuinfo):
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t: fpu avx2 avx512_bf16\n\nflags\t: x\n")
    assert hardware.cpu_flags() == {"fpu", "avx2", "avx512_bf16"}
    assert hardware.cpu_name() == "Some CPU @ 2 GHz"
    assert hardware.cpu_has_bf16()


def test_without_bf16(cpuinfo):
    cpuinfo.write_text("flags : fpu avx2\n")
    assert not hardware.cpu_has_bf16()


def test_where_there_is_no_cpuinfo(cpuinfo):
    assert hardware.cpu_flags() == frozenset()
    assert hardware.cpu_name()
    assert not hardware.cpu_has_bf16()


@pytest.mark.skipif(platform.machine() != "x86_64" or platform.system() != "Linux", reason="the check is for x86 Linux")
def test_torch_agrees():
    assert hardware.cpu_has_bf16() == (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def test_threads_are_those_wanted_or_told_or_one_for_each_core(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert (hardware.cpu_threads(5), hardware.cpu_threads(None)) == (5, 3)
    monkeypatch.setenv("OMP_NUM_THREADS", "4,2")
    assert hardware.cpu_threads(None) == hardware.cpu_cores()


def test_an_accelerator_that_is_none_is_told():
    with pytest.raises(ConfigError, match="accelerator: got 'cuda', should be one of auto, cpu, gpu, mps"):
        hardware.device_of("cuda")
