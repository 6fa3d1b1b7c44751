"""What the steps of chains have made before."""

import json
import sysconfig
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from chirplet.artifact.artifact import Artifact, content_id
from chirplet.data.preparation.prepare import prepare
from chirplet.stage.run.context import Composed
from chirplet.system.cache_files import make_folder, write_atomically
from chirplet.system.error import ArtifactError, UserError
from chirplet.system.hardware import cpu_name
from chirplet.system.hashing import folder_hash, json_hash


class Memory:
    """Where the artifact of the same step lies that was made before.

    The same are settings, data, parents, chirplet's own code and the libraries' versions, the machine, and all files
    that the step reads; of a model on the hub it is its name and revision. What is kept is the way to the artifact; one
    that is no longer there, or no longer what it was, is made again.
    """

    def __init__(self, cache_dir: Path, composed: Composed, parents: Sequence[Artifact]) -> None:
        self.config = composed.config
        self.fingerprint = prepare(composed.data, cache_dir).fingerprint
        told = [
            composed.values,
            self.fingerprint,
            [parent.record.id for parent in parents],
            [_digest(path) for path in composed.inputs],
            _code(),
            _versions(),
            cpu_name(),
        ]
        key = json_hash(told)
        self.entry = cache_dir / "chain" / f"{key[:32]}.json"

    def source(self) -> Path | None:
        """The folder of the artifact, if it is still the one that was made."""
        try:
            known = json.loads(self.entry.read_text(encoding="utf-8"))
            folder = Path(known["folder"])
            record = Artifact.open(folder).record
            same = record.id == known["id"]
            if known["id"] is None:  # the process was killed before it could say which it was
                same = record.config == self.config and record.data.fingerprint == self.fingerprint
            return folder if same and record.id == content_id(folder) else None
        except (OSError, ValueError, KeyError, TypeError, UserError):
            return None

    def expect(self, folder: Path) -> None:
        """Remember where the artifact is about to be made."""
        self._write(folder, None)

    def keep(self, folder: Path) -> Artifact:
        """Remember the artifact that was just made."""
        artifact = Artifact.open(folder)
        self._write(folder, artifact.record.id)
        return artifact

    def _write(self, folder: Path, identity: str | None) -> None:
        told = {"folder": str(folder.absolute()), "id": identity}
        try:
            make_folder(self.entry.parent)
        except OSError as error:
            raise ArtifactError(f"could not write {str(self.entry)!r}: {error.strerror}") from error
        write_atomically(json.dumps(told).encode("utf-8"), self.entry)


def _digest(path: Path) -> str:
    """SHA-256 over the names and bytes of a folder's files, Python's own caches aside; or of a file's bytes."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return folder_hash((file for file in files if "__pycache__" not in file.parts), path.parent)


@cache
def _code() -> str:
    """Of chirplet's own modules, as they were when this process first asked."""
    return _digest(Path(__file__).resolve().parents[1])


@cache
def _versions() -> list[str]:
    """Every library that is installed, as NAME-VERSION: any may change what a step makes.

    By the names of their folders, since reading what stands in them takes a second. Not by `sys.path`, which libraries
    add to while they are imported.
    """
    places = sysconfig.get_paths()
    found = {path.stem for key in ("purelib", "platlib") for path in Path(places[key]).glob("*.dist-info")}
    return sorted(name for name in found if not name.startswith("chirplet-"))
