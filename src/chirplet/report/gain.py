"""What a quantized artifact gained, in a line."""

from chirplet.artifact.artifact import Record


def gain(record: Record) -> str:
    """How many tweets the saved folder labelled again as recorded; its size and speed where they were measured."""
    told = [f"proven    {record.training['verified']['tweets']:,} tweets labelled the same again, in a new process"]
    if record.cost:
        beside = record.cost["beside"]
        told += [
            f"{record.cost['bytes_on_disk'] / 1e6:.1f} MB ({beside['times_bytes']:.0%} of the parent's)",
            f"{record.cost['tweets_per_s']:,.0f} tweets/s ({beside['times_tweets_per_s']:.1f} times the parent's)",
            f"{record.cost['latency_ms']['p50']:.1f} ms for one tweet ({beside['times_latency']:.2f} times)",
        ]
    return "; ".join(told)
