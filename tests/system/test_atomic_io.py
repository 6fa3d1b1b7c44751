"""A file is the old one or the new one, never half of one."""

import errno
import os
import shutil

import pytest

from chirplet.system.atomic_io import (
    atomic_file,
    remove_leftovers,
    scratch_folder,
    temporary_folder,
    temporary_of,
    write_text_atomically,
)
from chirplet.system.error import ArtifactError


def test_the_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "a.bin"
    with atomic_file(path) as stream:
        stream.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert [found.name for found in tmp_path.iterdir()] == ["a.bin"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(KeyError), atomic_file(path) as stream:
        stream.write(b"half of the n")
        raise KeyError
    assert path.read_bytes() == b"old"
    assert [found.name for found in tmp_path.iterdir()] == ["a.bin"]


def test_a_place_that_cannot_be_written_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_file(tmp_path / "nowhere" / "a.bin"):
        pass


def test_what_a_killed_process_was_writing_is_removed_by_the_next(tmp_path):
    (tmp_path / ".a.bin.4000000.tmp").write_bytes(b"half")
    (tmp_path / ".b.bin.4000000.tmp").write_bytes(b"another's")
    with atomic_file(tmp_path / "a.bin") as stream:
        stream.write(b"new")
    assert sorted(found.name for found in tmp_path.iterdir()) == [".b.bin.4000000.tmp", "a.bin"]


def test_leftovers_go_and_what_is_being_written_stays(tmp_path):
    (tmp_path / ".made.4000000.tmp").mkdir()
    (tmp_path / ".made.4000000.tmp" / "model.safetensors").write_bytes(b"half")
    for name in (".a.tmp", "a.1.tmp", ".env"):  # none of ours
        (tmp_path / name).write_text("")
    with atomic_file(tmp_path / "file"), temporary_folder(tmp_path / "folder"):
        # Another process asks; this one, to which the locks belong, has them all the same.
        child = os.fork()
        if not child:
            remove_leftovers(tmp_path)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert temporary_of(tmp_path / "file").exists()
        assert temporary_of(tmp_path / "folder").exists()
    assert sorted(found.name for found in tmp_path.iterdir()) == [".a.tmp", ".env", "a.1.tmp", "file"]


def test_leftovers_of_a_folder_that_is_not_there_are_none(tmp_path):
    remove_leftovers(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_text_is_written_as_utf_8(tmp_path):
    write_text_atomically("naïve 😀\n", tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_bytes() == "naïve 😀\n".encode()


def test_a_full_place_for_temporary_files_is_named(monkeypatch):
    """There is no room as long as what fills it is there."""
    usage, folders = shutil.disk_usage("/"), []
    for full, expected in ((True, ArtifactError), (False, OSError)):
        free = lambda _, full=full: usage._replace(free=0 if full and folders[-1].is_dir() else 1 << 30)  # noqa: E731
        monkeypatch.setattr(shutil, "disk_usage", free)
        with pytest.raises(expected) as caught, scratch_folder() as folder:
            folders.append(folder)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        assert not folder.exists()
        assert ("set TMPDIR to a folder with more space" in str(caught.value)) == full
