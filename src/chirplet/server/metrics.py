"""Figures of the server for Prometheus, by model."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Upper bounds of the latency buckets."""
TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
"""Upper bounds of the buckets of texts in a batch."""
OUTCOMES = ("answered", "refused", "failed", "left")
"""What became of a request: `refused` after it was read, `failed` in the model, `left` by the client."""


class Metrics:
    """All figures; a server has its own, apart from those of other libraries in the process."""

    def __init__(self) -> None:
        own = self.registry = CollectorRegistry()
        requests = "Requests that texts are labeled for"
        self.responses = Counter("chirplet_responses", "Responses by HTTP status", ["status"], registry=own)
        self.requests = Counter("chirplet_requests", requests, ["model", "outcome"], registry=own)
        self.texts = Counter("chirplet_texts", "Texts labeled", ["model"], registry=own)
        self.batch_texts = Histogram("chirplet_batch_texts", "Texts of a batch", ["model"], buckets=TEXTS, registry=own)
        self.seconds = Histogram(
            "chirplet_request_seconds", "Time to an answer", ["model"], buckets=SECONDS, registry=own
        )
        self.queue = Gauge("chirplet_queue_requests", "Requests that wait or are computed", ["model"], registry=own)

    def text(self) -> bytes:
        """All figures in Prometheus's format."""
        return generate_latest(self.registry)


class ModelMetrics:
    """The figures of one model."""

    def __init__(self, metrics: Metrics, name: str) -> None:
        self.requests = {outcome: metrics.requests.labels(name, outcome) for outcome in OUTCOMES}
        self.texts = metrics.texts.labels(name)
        self.batch_texts = metrics.batch_texts.labels(name)
        self.seconds = metrics.seconds.labels(name)
        self.queue = metrics.queue.labels(name)
