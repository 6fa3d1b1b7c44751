"""What the machine can do, told without torch: torch 2.10 has no public way to ask a CPU for its features."""

import platform
from functools import cache
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")


@cache
def cpu_flags() -> frozenset[str]:
    """Instruction sets of the first CPU as Linux names them (`avx512_bf16`, `amx_bf16`, ...); empty elsewhere."""
    return frozenset(_first_value("flags", "Features").split())


@cache
def cpu_name() -> str:
    """What the CPU calls itself."""
    return _first_value("model name") or platform.processor() or platform.machine()


def cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bf16 matrices in hardware: AVX512-BF16 or AMX on x86, bf16 on ARM."""
    return not cpu_flags().isdisjoint({"avx512_bf16", "amx_bf16", "bf16"})


def _first_value(*keys: str) -> str:
    if not _CPUINFO.is_file():
        return ""
    for line in _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in keys:
            return value.strip()
    return ""
