"""What a multirun ends with: the comparison of what its runs made. Hydra makes this object at every start."""

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class CompareRuns(Callback):
    """Hydra's callback; sweeps with Optuna have results of their own."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Compare the artifacts below the multirun's folder, where there are several, with what they started from."""
        if config.hydra.runtime.choices.get("hydra/sweeper") == "optuna":
            return
        from chirplet.artifact.artifact import RECORD
        from chirplet.config.redaction import typed

        folder = Path(config.hydra.sweep.dir)
        made = sorted((path.parent for path in folder.glob(f"**/artifact/{RECORD}")), key=_in_order)
        if len(made) > 1:
            _compare(typed(config.hydra.overrides.task), made, folder)


def _in_order(folder: Path) -> list[tuple[int, str]]:
    """What sorts job 10 behind job 2."""
    return [(int(part) if part.isdecimal() else -1, part) for part in folder.parts]


def _compare(overrides: list[str], made: list[Path], folder: Path) -> None:
    from hydra import compose

    from chirplet.artifact.artifact import Artifact
    from chirplet.cli.experiment import comparison_of
    from chirplet.cli.overrides import first_job, values_of
    from chirplet.system.console import console
    from chirplet.system.error_messages import explain

    try:
        first = first_job(overrides)  # what differs between jobs is no matter to their comparison
        started = [Path(folder).expanduser() for folder in values_of(overrides, ("artifact", "teacher"))]
        data = Artifact.open(made[0]).record.data.fingerprint
        known = [parent for parent in started if Artifact.open(parent).record.data.fingerprint == data]
        # Steps of a chain leave their speeds to its comparison.
        asked = compose("config", overrides=first).stage.get("compare_overrides") or []
        comparison_of(first, [*known, *made], list(asked)).run(folder)
    except Exception as error:
        # The runs are done, and their artifacts stay; Hydra would tell this in a warning of several lines.
        told = explain(error)
        if told is None:
            raise
        console(stderr=True).print(f"not compared: {told[0]}")
