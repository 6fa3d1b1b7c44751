"""The largest request that is answered."""

from collections.abc import Sequence
from dataclasses import dataclass

from chirplet.server.errors import RequestError


@dataclass(frozen=True)
class Limits:
    """Limits of requests. Their fields are keys of `stage=serve`, which messages name.

    Attributes:
        max_texts: texts of a request.
        max_characters: characters of a text.
        max_body_mb: million bytes of a request's body.
        queue: batches that may wait for a model beside the one that is computed.
    """

    max_texts: int
    max_characters: int
    max_body_mb: float
    queue: float

    def check_texts(self, texts: Sequence[str]) -> None:
        """Check the number and lengths of texts.

        Raises:
            RequestError: they are too many, or one is too long (413).
        """
        if len(texts) > self.max_texts:
            raise RequestError(413, f"got {len(texts):,} texts, should be at most {self.max_texts:,} (stage.max_texts)")
        if max(map(len, texts), default=0) > self.max_characters:
            position = next(i for i, text in enumerate(texts) if len(text) > self.max_characters)
            raise RequestError(
                413,
                f"text {position}: got {len(texts[position]):,} characters, "
                f"should be at most {self.max_characters:,} (stage.max_characters)",
            )

    def check_body(self, size: int) -> None:
        """Check the size of a body in bytes.

        Raises:
            RequestError: it is too large (413).
        """
        if size > self.max_body_mb * 1e6:
            raise RequestError(
                413, f"body: got more than {self.max_body_mb:g} MB, should be at most that (stage.max_body_mb)"
            )
