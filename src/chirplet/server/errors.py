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
    def overloaded(cls) -> Self:
        """As many texts wait as may."""
        return cls(429, "the model's queue is full (stage.queue); try again", {"Retry-After": "1"})
