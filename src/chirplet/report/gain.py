"""Size and speed of a quantized artifact in one line."""

from chirplet.artifact.artifact import Record


def gain(record: Record) -> str:
    """The number of texts that a new process labeled as recorded, and size and speed if they were measured."""
    parts = [f"verified  {record.training['verified']['texts']:,} texts labeled the same in a new process"]
    if record.cost:
        parent = record.cost["compared_with"]
        parts += [
            f"{record.cost['bytes_on_disk'] / 1e6:.1f} MB ({parent['times_bytes']:.0%} of the parent's)",
            f"{record.cost['texts_per_s']:,.0f} texts/s ({parent['times_texts_per_s']:.1f} times the parent's)",
            f"{record.cost['latency_ms']['p50']:.1f} ms for one text ({parent['times_latency']:.2f} times)",
        ]
        if (gpu := record.cost.get("gpu")) is not None:
            parts.append(f"{gpu['texts_per_s']:,.0f} texts/s and {gpu['latency_ms']['p50']:.1f} ms on the GPU")
    return "; ".join(parts)
