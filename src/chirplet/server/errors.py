"""What a request is refused with."""

from typing import Self


class RequestError(Exception):
    """A request is not answered: `status` is HTTP's code, `message` is one line that a client may read."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = " ".join(message.split())
        self.headers = headers

    @classmethod
    def overloaded(cls, limit: int) -> Self:
        """The model has as many requests as it may have at a time."""
        return cls(
            429, f"the model has {limit:,} requests, the most at a time (stage.queue); try again", {"Retry-After": "1"}
        )
