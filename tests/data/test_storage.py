import os
from pathlib import Path

import pytest

from chirplet.data.storage import locked_folder, write_whole
from chirplet.error import DataError


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    write_whole(b"old", path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"a: cannot be written .No space left on device.; set cache_dir"):
        write_whole(b"new", path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be made"), locked_folder(tmp_path / "file" / "below"):
        pass


def test_what_a_killed_process_was_writing_goes_when_the_folder_is_held(tmp_path: Path) -> None:
    (tmp_path / ".other.arrow.4000000.tmp").write_text("half")
    with locked_folder(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
