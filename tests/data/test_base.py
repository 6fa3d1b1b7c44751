from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chirplet.data.base import Source, row_names
from chirplet.system.error import ConfigError


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"folds": 1}, "folds: got 1, should be 2 or more, or null"),
        ({"folds": 5, "fold": 5}, "fold: got 5, should be less than folds=5"),
        ({"fold": 1}, "fold: got 1, which has no effect without folds"),
        ({"val_fraction": 0.5, "test_fraction": 0.5}, "should add up to less than 1"),
        ({"duplicates": "dorp"}, "data.duplicates: got 'dorp', .*did you mean 'drop'"),
        ({"val_fraction": 1.0}, "data.val_fraction: got 1.0"),
    ],
)
def test_settings_are_checked(make_source: Callable[..., Source], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_source("vader_tweets", **settings)


def test_row_names_tell_files_apart() -> None:
    assert row_names([Path("/x/a.csv"), Path("/y/b.csv")]) == ["a.csv", "b.csv"]
    assert row_names([Path("/home/ann/a.csv"), Path("/home/bob/a.csv")]) == ["1/a.csv", "2/a.csv"]
