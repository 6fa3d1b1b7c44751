"""Features of the machine. Those of the CPU are read without torch, which has no public API for them in 2.10."""

import ctypes
import os
import platform
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from chirplet.system.error import ConfigError

if TYPE_CHECKING:
    import torch

_CPUINFO = Path("/proc/cpuinfo")
_DISABLED = {
    "AVX512_CORE_BF16": ("avx512_fp16", "amx"),
    "AVX512_CORE_VNNI": ("avx512_bf16", "avx512_fp16", "amx"),
    "AVX512_CORE": ("avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16", "amx"),
    "AVX2_VNNI": ("avx512", "amx"),
    "AVX2": ("avx512", "avx_vnni", "amx"),
}
"""Value of ONEDNN_MAX_CPU_ISA to the prefixes of the CPU flags that oneDNN then does not use."""
# From glibc's malloc.h; 32 MB is the largest threshold that it accepts.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8


@cache
def cpu_flags() -> frozenset[str]:
    """Instruction sets of the first CPU as Linux names them (`avx512_bf16`, `amx_bf16`, ...); empty on other systems.

    Those that ONEDNN_MAX_CPU_ISA disables in PyTorch and OpenVINO are left out, so that choices that depend on them,
    for example of bf16, are as on a CPU without them.
    """
    disabled = _DISABLED.get(os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper(), ())
    return frozenset(flag for flag in _first_value("flags", "Features").split() if not flag.startswith(disabled))


@cache
def cpu_name() -> str:
    """The CPU's model name."""
    return _first_value("model name") or platform.processor() or platform.machine()


def cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bf16 matrices in hardware: AVX512-BF16 or AMX on x86, bf16 on ARM."""
    return not cpu_flags().isdisjoint({"avx512_bf16", "amx_bf16", "bf16"})


def cpu_has_vnni() -> bool:
    """Whether the CPU multiplies int8 without saturation, so that weights can have 8 bits: VNNI, AMX, or ARM."""
    return not cpu_flags().isdisjoint({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"})


def cpu_saturates_int8() -> bool:
    """Whether the CPU is known to sum int8 products in 16 bits, which saturates: x86 without VNNI."""
    return "sse2" in cpu_flags() and not cpu_has_vnni()


def cpu_cores() -> int:
    """Number of CPU cores that this process may use.

    The minimum of its affinity, its container's quota (cgroup v1 or v2, rounded up) and LOKY_MAX_CPU_COUNT.
    """
    from loky import cpu_count  # the import takes 0.06 s

    cores: int = cpu_count()
    return cores


def cpu_threads(wanted: int | None) -> int:
    """Number of CPU threads of a runtime: `wanted`, else OMP_NUM_THREADS, else one per core."""
    variable = os.environ.get("OMP_NUM_THREADS", "")
    return wanted or (int(variable) if variable.isdecimal() and int(variable) > 0 else cpu_cores())


def set_torch_threads(wanted: int | None) -> None:
    """Set torch's number of CPU threads to `wanted`.

    None keeps torch's default, which ignores quotas, but at most `cpu_cores`; OMP_NUM_THREADS and MKL_NUM_THREADS
    take precedence over this limit. Imports torch.
    """
    import torch

    if wanted is None and not any(os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")):
        cores = cpu_cores()
        wanted = cores if cores < torch.get_num_threads() else None
    if wanted is not None:
        torch.set_num_threads(wanted)


ACCELERATORS = ("auto", "cpu", "gpu", "mps")


def device_of(accelerator: str) -> "torch.device":
    """The device for `trainer.accelerator` on this machine; imports torch.

    Raises:
        ConfigError: the accelerator is unknown or not available.
    """
    import torch

    if accelerator not in ACCELERATORS:
        raise ConfigError(f"accelerator: got {accelerator!r}, should be one of {', '.join(ACCELERATORS)}")
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise ConfigError("trainer.accelerator: got 'gpu', but torch finds no GPU here; use trainer=cpu")
    if accelerator == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("trainer.accelerator: got 'mps', but torch finds no MPS device here; use trainer=cpu")
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


MixedPrecision = Literal["32-true", "bf16-mixed", "16-mixed"]


def automatic_precision(device: "torch.device") -> MixedPrecision:
    """What `precision: auto` means on `device`: bf16 if it is native, else fp16 on a GPU, else fp32."""
    if bf16_is_native(device):
        return "bf16-mixed"
    return "16-mixed" if device.type == "cuda" else "32-true"


def keep_freed_memory() -> bool:
    """Make this process keep memory that it frees for later use; returns whether that succeeded.

    By default glibc returns large blocks to the system and requests them again, page by page, in every training step.
    It would also do so for the heaps of single threads, so all threads share one heap. Other C libraries are not
    changed.
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
