import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from chirplet.system import atomic_io
from chirplet.system.cache_files import check_cache, locked_folder, write_atomically
from chirplet.system.error import ArtifactError, DataError
from chirplet.system.run_lock import lock_output


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    write_atomically(b"old", path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"a: cannot be written .No space left on device.; set cache_dir"):
        write_atomically(b"new", path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be created"), locked_folder(tmp_path / "file" / "below"):
        pass


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    told = r"cannot be locked \(.*\); set cache_dir .*, on a disk with file locks$"
    with pytest.raises(DataError, match=told), locked_folder(tmp_path):
        pass
    told = r"^could not write to .*give another hydra\.run\.dir on a disk with file locks$"
    with pytest.raises(ArtifactError, match=told), lock_output(tmp_path):
        pass


def test_a_disk_that_fills_within_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic_io, "_FULL", 1 << 62)
    told = r": cannot be written \(No space left on device\); set cache_dir to a folder with free space$"
    with pytest.raises(DataError, match=told), locked_folder(tmp_path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_cache_that_cannot_be_written_is_told_before_a_search(tmp_path: Path) -> None:
    check_cache(tmp_path / "new" / "cache")
    assert modes(tmp_path) == {"new": "700", "new/cache": "700"}
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match=r"^could not write to '\S+/file/cache': .*; give another cache_dir$"):
        check_cache(tmp_path / "file" / "cache")


@pytest.fixture
def umask() -> Iterator[None]:
    """One that takes nothing away."""
    before = os.umask(0)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): f"{path.stat().st_mode & 0o777:o}" for path in folder.rglob("*")}


@pytest.mark.usefixtures("umask")
def test_the_cache_is_its_owners_alone(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir(mode=0o755)
    with locked_folder(tmp_path / "there" / "cache" / "tokens") as folder:
        write_atomically(b"a text", folder / "a")
    write_atomically(b"another", folder / "a")
    assert modes(tmp_path) == {
        "there": "755",
        "there/cache": "700",
        "there/cache/tokens": "700",
        "there/cache/tokens/.lock": "600",
        "there/cache/tokens/a": "600",
    }


def test_what_a_killed_process_was_writing_goes_when_the_folder_is_held(tmp_path: Path) -> None:
    (tmp_path / ".other.arrow.4000000.tmp").write_text("half")
    with locked_folder(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
