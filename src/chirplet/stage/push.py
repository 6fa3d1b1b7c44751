"""Put an artifact that was made before on the hub."""

from pathlib import Path

from chirplet.artifact.hub import Repository, check_whole, push_again
from chirplet.stage.base import Stage
from chirplet.stage.run.context import ArtifactFolder, Run
from chirplet.system.error import ConfigError


class Push(Stage):
    """What goes where; `chirplet.artifact.hub` tells how."""

    artifact: ArtifactFolder | None
    push: Repository | None
    push_private: bool

    def run(self, run: Run) -> None:
        """Upload the artifact, if its files are whole."""
        wanted = {"artifact": (self.artifact, "DIR"), "push": (self.push, "ORG/NAME")}
        missing = [f"{key}: is missing; give {key}={what}" for key, (value, what) in wanted.items() if value is None]
        if missing:
            raise ConfigError("\n".join(missing))

        assert self.artifact is not None and self.push is not None
        folder = Path(self.artifact).expanduser()
        check_whole(folder)
        push_again(folder, self.push, self.push_private)
