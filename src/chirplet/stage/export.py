"""Write an artifact's model as a folder that another program opens."""

from pathlib import Path
from typing import ClassVar, Literal

from chirplet.artifact.artifact import Artifact
from chirplet.stage.base import Stage
from chirplet.stage.run.context import ArtifactFolder, Run, given_artifact
from chirplet.system.console import console, shown_path


class Export(Stage):
    """The artifact, and the program that the folder is for: `transformers_js` runs in Node and in browsers."""

    reads_data: ClassVar[bool] = False
    extra: ClassVar[str | None] = None

    artifact: ArtifactFolder | None
    target: Literal["transformers_js"]

    def run(self, run: Run) -> None:
        """Write the folder, and print its path and how it is opened."""
        artifact = Artifact.open(Path(given_artifact(self.artifact)).expanduser())
        from chirplet.stage.output.transformers_js import INSTALL, in_node, write_folder

        folder = run.output_dir / self.target
        write_folder(artifact, folder, run.trainer.threads, run.verify)
        out = console()
        out.print(f"folder    {shown_path(folder)}; its README.md says how a browser opens it", highlight=False)
        out.print(f"next      {INSTALL}, and in Node:\n{in_node(str(folder.absolute()))}", highlight=False)
