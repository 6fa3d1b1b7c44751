"""What a request is refused with."""

from typing import Self


class RequestError(Exception):
    """A request is not answered: `status` is HTTP's code, `message` is one line that a client may read."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers

    @classmethod
    def overloaded(cls, retry_after_s: int) -> Self:
        """The queue is full."""
        return cls(429, "the queue is full; try again later", {"Retry-After": str(retry_after_s)})
