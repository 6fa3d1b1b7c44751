"""Downloads from the package index with pip, which uses the user's mirrors, proxies and certificates."""

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
    """Download a project's source archive into the temporary `folder`.

    pip checks the hash before it opens the archive. It then runs the archive's build system for metadata, which is code
    that the hash covers.

    Raises:
        DataError: pip is missing or fails, or the archive has another hash.
    """
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{project}=={version} --hash=sha256:{sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--progress-bar=off", "--no-deps", f"--no-binary={project}", f"--dest={folder}"]
    if importlib.util.find_spec("setuptools") is not None:
        # Avoids a download of setuptools for metadata that is not needed.
        command.append("--no-build-isolation")
    logger.info("downloading the source archive of %s %s with pip", project, version)
    remedy = f"without network, download {project}-{version}.tar.gz elsewhere and set data.sdist=PATH"
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
        raise DataError(f"pip cannot download {project} {version} ({reason.removeprefix('ERROR: ')}); {remedy}")
    check_hash(archives[0].read_bytes(), sha256, archives[0].name)
    return archives[0]


def check_hash(content: bytes, sha256: str, name: str) -> bytes:
    """Return the content if its SHA-256 is `sha256`.

    Raises:
        DataError: it has another SHA-256.
    """
    got = hashlib.sha256(content).hexdigest()
    if got != sha256:
        raise DataError(
            f"{name}: got SHA-256 {got}, should be {sha256}; the file is damaged or another: download again"
        )
    return content


def archive_member(archive: bytes, sha256: str, member: str, name: str) -> bytes:
    """Read one file of a tar.gz archive with a known SHA-256, in memory.

    Args:
        archive: the archive's content.
        sha256: expected hash, which is checked before the archive is opened.
        member: name of the file in the archive.
        name: name of the archive, for messages.

    Raises:
        DataError: the archive has another hash.
    """
    with tarfile.open(fileobj=io.BytesIO(check_hash(archive, sha256, name))) as tar:
        stream = tar.extractfile(member)
        assert stream is not None
        return stream.read()
