"""The largest request that is answered."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits of one request, and of the queue of each model.

    Attributes:
        max_texts: texts of a request.
        max_characters: characters of a text.
        max_body_mb: million bytes of a request's body.
        queue: texts that wait for a model.
        max_wait_ms: milliseconds that a request waits for others, to be computed with them.
    """

    max_texts: int
    max_characters: int
    max_body_mb: float
    queue: int
    max_wait_ms: float
