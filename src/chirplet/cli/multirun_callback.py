"""The comparison at the end of a multirun. Hydra builds the callback at every start, so its imports are lazy."""

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class CompareRuns(Callback):
    """Compare the artifacts of a multirun. Optuna sweeps write their own results instead."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Compare the artifacts in the multirun's folder, if there are several, with their parents."""
        if config.hydra.runtime.choices.get("hydra/sweeper") == "optuna":
            return
        from chirplet.artifact.artifact import RECORD
        from chirplet.config.redaction import typed

        folder = Path(config.hydra.sweep.dir)
        artifacts = sorted((path.parent for path in folder.glob(f"**/artifact/{RECORD}")), key=_natural_order)
        if len(artifacts) > 1:
            _compare(typed(config.hydra.overrides.task), artifacts, folder)


def _natural_order(folder: Path) -> list[tuple[int, str]]:
    """Sort key that puts job 10 after job 2."""
    return [(int(part) if part.isdecimal() else -1, part) for part in folder.parts]


def _compare(overrides: list[str], artifacts: list[Path], folder: Path) -> None:
    from hydra import compose

    from chirplet.artifact.artifact import Artifact
    from chirplet.cli.experiment import comparison_of
    from chirplet.cli.overrides import first_job, values_of
    from chirplet.system.console import console
    from chirplet.system.error_messages import explain

    try:
        first = first_job(overrides)  # the comparison does not depend on what differs between jobs
        parents = [Path(folder).expanduser() for folder in values_of(overrides, ("artifact", "teacher"))]
        data = Artifact.open(artifacts[0]).record.data.fingerprint
        comparable = [parent for parent in parents if Artifact.open(parent).record.data.fingerprint == data]
        # A step of a chain may set overrides for the comparison that measures its speed.
        extra = compose("config", overrides=first).stage.get("compare_overrides") or []
        comparison_of(first, [*comparable, *artifacts], list(extra)).run(folder)
    except Exception as error:
        # The runs have finished and their artifacts remain. Hydra would print a warning of several lines.
        explanation = explain(error)
        if explanation is None:
            raise
        console(stderr=True).print(f"not compared: {explanation[0]}")
