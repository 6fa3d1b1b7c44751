"""A run with `push=ORG/NAME`: what it makes goes to the Hugging Face hub."""

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from chirplet.artifact.hub import open_repository, push
from chirplet.stage.base import Stage
from chirplet.stage.run.context import Run
from chirplet.system.error import ConfigError


def run_and_push(stage: Stage, run: Run, repository: str, private: bool) -> float | None:
    """Carry the stage out and put its artifact on the hub, which is asked first whether it will take it.

    Raises:
        ConfigError: the stage makes no artifact or several, or the hub will not take it.
        PushError: the hub did not take it after all.
    """
    name = stage.option
    if name == "push":
        return stage.run(run)
    if not stage.makes_artifact:
        raise ConfigError(f"push: stage={name} makes no artifact of its own; give stage=push artifact=DIR for one")
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        raise ConfigError("push: got -m, whose runs would replace each other; give stage=push artifact=DIR for one")
    open_repository(repository, private)
    objective = stage.run(run)
    push(run.output_dir / "artifact", repository, private)
    return objective
