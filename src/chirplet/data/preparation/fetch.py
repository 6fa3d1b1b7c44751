"""Files from the package index, fetched with pip so that mirrors, proxies and certificates are the user's own."""

import hashlib
import importlib.util
import io
import logging
import subprocess
import sys
import tarfile
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


def archive_member(archive: bytes, sha256: str, member: str, name: str) -> bytes:
    """One file of a tar.gz archive with a known SHA-256; nothing is unpacked on disk.

    Args:
        archive: the archive's content.
        sha256: what its hash should be. It is checked before the archive is opened.
        member: the name inside, of a file that an archive with this hash has.
        name: of the archive, for messages.

    Raises:
        DataError: the archive has another hash.
    """
    with tarfile.open(fileobj=io.BytesIO(check_hash(archive, sha256, name))) as tar:
        stream = tar.extractfile(member)
        assert stream is not None
        return stream.read()
