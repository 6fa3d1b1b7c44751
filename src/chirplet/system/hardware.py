"""What the machine can do. A CPU is examined without torch: torch 2.10 has no public function for its features."""

import ctypes
import os
import platform
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from chirplet.system.error import ConfigError

if TYPE_CHECKING:
    import torch

_CPUINFO = Path("/proc/cpuinfo")
_BEYOND = {
    "AVX512_CORE_BF16": ("avx512_fp16", "amx"),
    "AVX512_CORE_VNNI": ("avx512_bf16", "avx512_fp16", "amx"),
    "AVX512_CORE": ("avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16", "amx"),
    "AVX2_VNNI": ("avx512", "amx"),
    "AVX2": ("avx512", "avx_vnni", "amx"),
}
"""By value of ONEDNN_MAX_CPU_ISA: how the flags begin that oneDNN leaves alone then."""
# Of glibc's malloc.h; 32 MB is the largest threshold that it takes.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8


@cache
def cpu_flags() -> frozenset[str]:
    """Instruction sets of the first CPU as Linux names them (`avx512_bf16`, `amx_bf16`, ...); empty elsewhere.

    Where ONEDNN_MAX_CPU_ISA keeps PyTorch and OpenVINO from some, these are not among them: what is chosen by them,
    such as bf16, is as on a CPU that lacks them.
    """
    beyond = _BEYOND.get(os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper(), ())
    return frozenset(flag for flag in _first_value("flags", "Features").split() if not flag.startswith(beyond))


@cache
def cpu_name() -> str:
    """What the CPU calls itself."""
    return _first_value("model name") or platform.processor() or platform.machine()


def cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bf16 matrices in hardware: AVX512-BF16 or AMX on x86, bf16 on ARM."""
    return not cpu_flags().isdisjoint({"avx512_bf16", "amx_bf16", "bf16"})


def cpu_has_vnni() -> bool:
    """Whether the CPU multiplies int8 without the saturation that wants weights of seven bits: VNNI, AMX, or ARM."""
    return not cpu_flags().isdisjoint({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"})


def cpu_saturates_int8() -> bool:
    """Whether the CPU is known to add products of int8 up in 16 bits: x86 without VNNI."""
    return "sse2" in cpu_flags() and not cpu_has_vnni()


def cpu_cores() -> int:
    """How many CPU cores this process may use.

    The least of its affinity, its container's quota (cgroup v1 or v2, rounded up) and LOKY_MAX_CPU_COUNT.
    """
    # Where they are counted, not above: it takes 0.06 s to import.
    from loky import cpu_count

    cores: int = cpu_count()
    return cores


def cpu_threads(wanted: int | None) -> int:
    """How many CPU threads a runtime takes: those `wanted`; else as OMP_NUM_THREADS says, or one for each core."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return wanted or (int(given) if given.isdecimal() and int(given) > 0 else cpu_cores())


def set_torch_threads(wanted: int | None) -> None:
    """Let torch compute on `wanted` CPU threads.

    None is its own choice, which follows the machine's cores and knows no quota, so on no more than `cpu_cores`;
    what OMP_NUM_THREADS or MKL_NUM_THREADS says is left as it is. Imports torch.
    """
    import torch

    if wanted is None and not any(os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")):
        cores = cpu_cores()
        wanted = cores if cores < torch.get_num_threads() else None
    if wanted is not None:
        torch.set_num_threads(wanted)


ACCELERATORS = ("auto", "cpu", "gpu", "mps")


def device_of(accelerator: str) -> "torch.device":
    """The device that `trainer.accelerator` means on this machine; imports torch.

    Raises:
        ConfigError: the accelerator asked for is not there, or none that is known.
    """
    import torch

    if accelerator not in ACCELERATORS:
        raise ConfigError(f"accelerator: got {accelerator!r}, should be one of {', '.join(ACCELERATORS)}")
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise ConfigError("trainer.accelerator: got 'gpu', but torch sees no GPU here; trainer=cpu works")
    if accelerator == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("trainer.accelerator: got 'mps', but torch sees none here; trainer=cpu works")
    if accelerator == "gpu" or (accelerator == "auto" and torch.cuda.is_available()):
        return torch.device("cuda")
    if accelerator == "mps" or (accelerator == "auto" and torch.backends.mps.is_available()):
        return torch.device("mps")
    return torch.device("cpu")


def bf16_is_native(device: "torch.device") -> bool:
    """Whether `device` multiplies bf16 matrices in hardware."""
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and cpu_has_bf16()


def keep_freed_memory() -> bool:
    """Have this process keep memory that it frees, for what it needs next; whether the system allows it.

    By default glibc gives large blocks back and asks for them anew in every training step, page by page. From threads
    that each had a heap of their own it would do so too, hence one heap for all. Other libraries are left alone.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    settings = {_M_MMAP_THRESHOLD: 32 << 20, _M_TRIM_THRESHOLD: 2**31 - 1, _M_ARENA_MAX: 1}
    return all(libc.mallopt(name, value) for name, value in settings.items())


def _first_value(*keys: str) -> str:
    if not _CPUINFO.is_file():
        return ""
    for line in _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in keys:
            return value.strip()
    return ""
