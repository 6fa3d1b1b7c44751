"""Upload an existing artifact to the Hugging Face hub."""

from pathlib import Path
from typing import ClassVar

from chirplet.artifact.hub import Repository, check_complete, push_existing
from chirplet.stage.base import Stage
from chirplet.stage.run.context import ArtifactFolder, Run, check_given


class Push(Stage):
    """The artifact, the repository and its visibility. `chirplet.artifact.hub` does the upload."""

    extra: ClassVar[str | None] = None
    reads_data: ClassVar[bool] = False

    artifact: ArtifactFolder | None
    push: Repository | None
    push_private: bool

    def run(self, run: Run) -> None:
        """Check that the artifact is complete, and upload it."""
        wanted = {"artifact": (self.artifact, "DIR"), "push": (self.push, "ORG/NAME")}
        check_given(wanted)
        assert self.artifact is not None and self.push is not None
        folder = Path(self.artifact).expanduser()
        check_complete(folder)
        push_existing(folder, self.push, self.push_private)
