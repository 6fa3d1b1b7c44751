"""What the steps of chains have made before."""

import json
from pathlib import Path

from chirplet.artifact.artifact import Artifact, content_id
from chirplet.stage.run.identity import Identity, differences, identity_in
from chirplet.system.cache_files import make_folder, write_atomically
from chirplet.system.error import ArtifactError, UserError


class Memory:
    """Where the same step wrote its artifact before.

    Steps are the same if their identities are, with code, libraries and machine. The cache stores the folder of the
    artifact; an artifact that was removed or changed is made again.
    """

    def __init__(self, cache_dir: Path, identity: Identity) -> None:
        self.identity = identity
        self.entry = cache_dir / "chain" / f"{identity.key[:32]}.json"

    def source(self) -> Path | None:
        """The folder of the artifact, if it is still the one that was made."""
        try:
            known = json.loads(self.entry.read_text(encoding="utf-8"))
            folder = Path(known["folder"])
            record = Artifact.open(folder).record
            same = record.id == known["id"]
            if known["id"] is None:  # the process was killed before it could say which it was
                same = not [*differences(self.identity, identity_in(record))]
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
        entry = {"folder": str(folder.absolute()), "id": identity}
        try:
            make_folder(self.entry.parent)
        except OSError as error:
            raise ArtifactError(f"could not write {str(self.entry)!r}: {error.strerror}") from error
        write_atomically(json.dumps(entry).encode("utf-8"), self.entry)
