import io
import tarfile
from pathlib import Path

import pytest

from chirplet.data.preparation.fetch import archive_member, check_hash, fetch_sdist
from chirplet.system.error import DataError


def archive(name: str, content: bytes, kind: bytes = tarfile.REGTYPE) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        information = tarfile.TarInfo(name)
        information.size, information.type, information.linkname = len(content), kind, "/etc/passwd"
        tar.addfile(information, io.BytesIO(content))
    return buffer.getvalue()


def test_one_member_is_read() -> None:
    assert archive_member(archive("a/b.txt", b"tweets"), "a/b.txt", 6, "x.tar.gz") == b"tweets"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (archive("a/c.txt", b"x"), "x.tar.gz: has no member a/b.txt"),
        (archive("a/b.txt", b"1234567"), "no file of at most 6 bytes"),
        (archive("a/b.txt", b"", tarfile.SYMTYPE), "no file of at most 6 bytes"),
        (archive("a/b.txt", b"x" * 6)[:40], "x.tar.gz: a damaged archive"),
        (b"nothing", "x.tar.gz: a damaged archive"),
    ],
    ids=["another", "large", "link", "cut", "none"],  # an archive holds the time it was made at
)
def test_archives_are_not_trusted(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        archive_member(content, "a/b.txt", 6, "x.tar.gz")


def test_hash() -> None:
    with pytest.raises(DataError, match=r"a: SHA-256 is 2d711642.*, should be 00; damaged"):
        check_hash(b"x", "00", "a")


def test_no_network_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(
        DataError, match=r"pip cannot fetch nosuch 1\.0 \(.*\); with no network, .*data.sdist=PATH"
    ) as caught:
        fetch_sdist("nosuch", "1.0", "0" * 64, tmp_path)
    assert "\n" not in str(caught.value)
