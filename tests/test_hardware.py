"""What is told of the CPU is what the kernel and torch tell."""

import os
import platform

import pytest
import torch

from chirplet import hardware
from chirplet.error import ConfigError


@pytest.fixture
def fresh(monkeypatch):
    """What is known of the CPU is found out anew, in no test that comes after."""
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    for function in (hardware.cpu_flags, hardware.cpu_name):
        function.cache_clear()
    yield
    for function in (hardware.cpu_flags, hardware.cpu_name):
        function.cache_clear()


@pytest.fixture
def cpuinfo(fresh, tmp_path, monkeypatch):
    monkeypatch.setattr(hardware, "_CPUINFO", tmp_path / "cpuinfo")
    return tmp_path / "cpuinfo"


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


@pytest.mark.parametrize(
    ("isa", "left"),
    [
        ("", {"avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8"}),
        ("AVX512_CORE_BF16", {"avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16"}),
        ("AVX512_CORE_VNNI", {"avx2", "avx_vnni", "avx512f", "avx512_vnni"}),
        ("AVX512_CORE", {"avx2", "avx512f"}),
        ("avx2", {"avx2"}),
    ],
)
def test_what_onednn_may_not_use_the_cpu_does_not_have(isa, left, cpuinfo, monkeypatch):
    cpuinfo.write_text("flags : avx2 avx_vnni avx512f avx512_vnni avx512_bf16 amx_int8\n")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", isa)
    assert hardware.cpu_flags() == left


@pytest.mark.skipif(platform.machine() != "x86_64" or platform.system() != "Linux", reason="the check is for x86 Linux")
def test_torch_agrees(fresh):
    assert hardware.cpu_has_bf16() == (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


@pytest.mark.skipif("ONEDNN_MAX_CPU_ISA" not in os.environ, reason="no instruction set is forced")
def test_libraries_keep_to_the_instruction_set_that_is_forced():
    openvino = pytest.importorskip("openvino")
    assert ("BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")) == hardware.cpu_has_bf16()
    if "avx512f" not in hardware.cpu_flags():
        assert torch.backends.cpu.get_cpu_capability() in {"AVX2", "DEFAULT"}


def test_threads_are_those_wanted_or_told_or_one_for_each_core(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert (hardware.cpu_threads(5), hardware.cpu_threads(None)) == (5, 3)
    monkeypatch.setenv("OMP_NUM_THREADS", "4,2")
    assert hardware.cpu_threads(None) == hardware.cpu_cores()


def test_an_accelerator_that_is_none_is_told():
    with pytest.raises(ConfigError, match="accelerator: got 'cuda', should be one of auto, cpu, gpu, mps"):
        hardware.device_of("cuda")
