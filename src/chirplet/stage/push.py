"""Put an artifact that was made before on the hub."""

from pathlib import Path

from chirplet.artifact.hub import Repository, check_complete, push_existing
from chirplet.stage.base import Stage
from chirplet.stage.run.context import ArtifactFolder, Run, check_given


class Push(Stage):
    """What goes where; `chirplet.artifact.hub` tells how."""

    artifact: ArtifactFolder | None
    push: Repository | None
    push_private: bool

    def run(self, run: Run) -> None:
        """Upload the artifact, if its files are whole."""
        wanted = {"artifact": (self.artifact, "DIR"), "push": (self.push, "ORG/NAME")}
        check_given(wanted)
        assert self.artifact is not None and self.push is not None
        folder = Path(self.artifact).expanduser()
        check_complete(folder)
        push_existing(folder, self.push, self.push_private)
