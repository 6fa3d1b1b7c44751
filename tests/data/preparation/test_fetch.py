import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from chirplet.data.preparation.fetch import archive_member, check_hash, fetch_sdist
from chirplet.system.error import DataError


def archive(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        information = tarfile.TarInfo(name)
        information.size = len(content)
        tar.addfile(information, io.BytesIO(content))
    return buffer.getvalue()


def test_one_member_is_read() -> None:
    content = archive("a/b.txt", b"tweets")
    assert archive_member(content, hashlib.sha256(content).hexdigest(), "a/b.txt", "x.tar.gz") == b"tweets"


@pytest.mark.parametrize("content", [archive("a/b.txt", b"tweets"), b"nothing"], ids=["archive", "none"])
def test_an_archive_with_another_hash_is_not_opened(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tarfile, "open", lambda *_, **__: pytest.fail("opened"))
    with pytest.raises(DataError, match=r"x.tar.gz: got SHA-256 .*, should be 00; the file is damaged"):
        archive_member(content, "00", "a/b.txt", "x.tar.gz")


def test_hash() -> None:
    with pytest.raises(DataError, match=r"a: got SHA-256 2d711642.*, should be 00; the file is damaged"):
        check_hash(b"x", "00", "a")


def test_no_network_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(
        DataError, match=r"pip cannot download nosuch 1\.0 \(.*\); without network, .*data.sdist=PATH"
    ) as caught:
        fetch_sdist("nosuch", "1.0", "0" * 64, tmp_path)
    assert "\n" not in str(caught.value)
