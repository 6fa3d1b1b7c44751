"""What is told of the CPU is what the kernel and torch tell."""

import os
import platform
import shutil
import subprocess
import sys

import pytest
import torch

from chirplet.system import hardware
from chirplet.system.error import ConfigError


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


# What each kind of container has below /sys/fs/cgroup, and the cores that it leaves; one of them on any machine.
CGROUPS = {
    "v2": ({"cpu.max": "100000 100000"}, 1),
    "v2, half a core": ({"cpu.max": "50000 100000"}, 1),
    "v2, no limit": ({"cpu.max": "max 100000"}, None),
    "v1": ({"cpu/cpu.cfs_quota_us": "20000", "cpu/cpu.cfs_period_us": "20000"}, 1),
    "v1, no limit": ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
}


@pytest.fixture
def in_container(tmp_path):
    """Run Python where /sys/fs/cgroup holds these files alone; what it prints."""
    unshare = [shutil.which("unshare") or "unshare", "--user", "--map-root-user", "--mount"]
    mount = f"mount --bind {tmp_path} /sys/fs/cgroup && exec "
    try:
        subprocess.run([*unshare, "sh", "-c", f"{mount} true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("namespaces are not allowed here, or there are no cgroups")

    def run(files, code, **environment):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(f"{text}\n")
        known = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
        command = [*unshare, "sh", "-c", f'{mount} "$@"', "sh", sys.executable, "-c", code]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=known | environment)
        return done.stdout.split()

    return run


@pytest.mark.parametrize("kind", CGROUPS)
def test_a_containers_quota_limits_the_cores(kind, in_container):
    files, limit = CGROUPS[kind]
    code = "import os; from chirplet.system.hardware import cpu_cores; print(cpu_cores(), len(os.sched_getaffinity(0)))"
    cores, affinity = in_container(files, code)
    assert cores == (affinity if limit is None else str(limit))


def test_torch_starts_no_more_threads_than_a_container_may_use(in_container):
    """Torch counts the machine's cores; in its place, three stand for those of any machine."""
    code = (
        "import torch; from chirplet.system.hardware import set_torch_threads; torch.set_num_threads(3); "
        "set_torch_threads(None); print(torch.get_num_threads())"
    )
    quota, _ = CGROUPS["v2"]
    assert in_container(quota, code) == ["1"]
    assert in_container(quota, code, OMP_NUM_THREADS="3") == ["3"], "the user's own"


@pytest.fixture
def torch_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("variables", "wanted", "expected"),
    [
        ({}, None, 1),
        ({}, 2, 2),
        ({"OMP_NUM_THREADS": "3"}, None, 3),
        ({"MKL_NUM_THREADS": "3"}, None, 3),
        ({"OMP_NUM_THREADS": "3"}, 2, 2),
    ],
)
def test_torchs_own_choice_is_at_most_a_thread_for_each_core(variables, wanted, expected, monkeypatch, torch_threads):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"LOKY_MAX_CPU_COUNT": "1", **variables}.items():
        monkeypatch.setenv(name, value)
    assert (hardware.cpu_cores(), hardware.cpu_threads(wanted)) == (
        1,
        wanted or int(variables.get("OMP_NUM_THREADS", 1)),
    )
    torch.set_num_threads(3)
    hardware.set_torch_threads(wanted)
    assert torch.get_num_threads() == expected


def test_a_choice_of_fewer_threads_than_cores_is_left(monkeypatch, torch_threads):
    """Torch takes the physical cores alone where it can tell them."""
    monkeypatch.setattr(hardware, "cpu_cores", lambda: 4)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    torch.set_num_threads(2)
    hardware.set_torch_threads(None)
    assert torch.get_num_threads() == 2


def test_an_accelerator_that_is_none_is_told():
    with pytest.raises(ConfigError, match="accelerator: got 'cuda', should be one of auto, cpu, gpu, mps"):
        hardware.device_of("cuda")
