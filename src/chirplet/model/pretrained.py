"""Which pretrained encoder to start from."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from chirplet.config import Fraction, Settings

Cleaning = Literal["none", "seed", "twitter_roberta", "bertweet"]


class Pretrained(Settings):
    """A pretrained encoder, its tokenizer, and how tweets are prepared for it.

    `name_or_path` is `bundled` (the all-MiniLM-L6-v2 that is installed with chirplet), a folder, or a hub id.
    """

    name_or_path: str
    revision: str | None
    pretrained: bool
    cleaning: Cleaning
    max_length: Annotated[int, Field(ge=8, le=8192)]
    dropout: Fraction
    classifier_dropout: Fraction
    attention: Literal["eager", "sdpa"]

    @property
    def is_bundled(self) -> bool:
        """Whether the weights are those installed with chirplet."""
        return self.name_or_path == "bundled"

    @property
    def is_folder(self) -> bool:
        """Whether `name_or_path` names an existing folder."""
        return Path(self.name_or_path).expanduser().is_dir()
