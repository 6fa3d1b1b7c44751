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
        """As many batches wait for the model as may."""
        what = f"{limit:,} batch{'es' * (limit > 1)} of texts wait{'s' * (limit == 1)}"
        return cls(429, f"{what} for the model (stage.queue); try again", {"Retry-After": "1"})
