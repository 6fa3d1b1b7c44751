"""A run with `push=ORG/NAME`, which uploads its artifact to the Hugging Face Hub."""

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from chirplet.artifact.hub import open_repository, push
from chirplet.stage.base import Stage
from chirplet.stage.run.context import Run
from chirplet.system.error import ConfigError


def run_and_push(stage: Stage, run: Run, repository: str, private: bool) -> float | None:
    """Run the stage and upload its artifact. What the run needs, and then the repository, are checked before it starts.

    Raises:
        ConfigError: the stage makes no artifact or several, or the repository cannot be used.
        PushError: the upload failed.
    """
    name = stage.option
    if name == "push":
        stage.check(run)
        return stage.run(run)
    if not stage.makes_artifact:
        raise ConfigError(f"push: stage={name} makes no artifact; push one with stage=push artifact=DIR")
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        raise ConfigError("push: got -m, but runs would overwrite each other; push one with stage=push artifact=DIR")
    stage.check(run)
    open_repository(repository, private)
    objective = stage.run(run)
    push(run.output_dir / "artifact", repository, private)
    return objective
