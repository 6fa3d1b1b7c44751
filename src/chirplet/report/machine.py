"""The machine that measured an artifact's speed."""

from chirplet.artifact.artifact import Record
from chirplet.runtime.probe import kind


def machine(record: Record) -> str | None:
    """The CPU, how many of its threads, and the device where that is another; None where no speed was measured.

    A CPU is identified by its instruction sets too: virtual CPUs of several kinds share a name.
    """
    if "threads" not in record.cost:
        return None
    name, flags = record.cpu["name"], record.cpu.get("flags", [])
    place = f"{kind(name, flags) if flags else name}, {record.cost['threads']} threads"
    device = record.cost.get("device", "cpu")
    return place if device == "cpu" else f"{device} of {place}"
