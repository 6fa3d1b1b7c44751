"""The machine that measured an artifact's speed."""

from chirplet.artifact.artifact import Record
from chirplet.runtime.probe import kind


def machine(record: Record) -> str | None:
    """CPU, number of threads and, if not the CPU, the device; None if no speed was measured.

    The CPU's instruction sets are part of its name: different virtual CPUs share one name.
    """
    if "threads" not in record.cost:
        return None
    name, flags = record.cpu["name"], record.cpu.get("flags", [])
    host = f"{kind(name, flags) if flags else name}, {record.cost['threads']} threads"
    device = record.cost.get("device", "cpu")
    return host if device == "cpu" else f"{device} of {host}"
