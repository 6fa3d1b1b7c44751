"""What a quantized artifact gained, in a line."""

from chirplet.artifact.artifact import Record


def gain(record: Record) -> str:
    """How many texts the saved folder labeled again as recorded; its size and speed where they were measured."""
    lines = [f"verified  {record.training['verified']['texts']:,} texts labeled the same again, in a new process"]
    if record.cost:
        compared_with = record.cost["compared_with"]
        lines += [
            f"{record.cost['bytes_on_disk'] / 1e6:.1f} MB ({compared_with['times_bytes']:.0%} of the parent's)",
            f"{record.cost['texts_per_s']:,.0f} texts/s ({compared_with['times_texts_per_s']:.1f} times the parent's)",
            f"{record.cost['latency_ms']['p50']:.1f} ms for one text ({compared_with['times_latency']:.2f} times)",
        ]
    return "; ".join(lines)
