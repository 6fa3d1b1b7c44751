"""What a multirun ends with: the comparison of what its runs made. Hydra makes this object at every start."""

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class CompareRuns(Callback):
    """Hydra's callback; sweeps with Optuna have results of their own."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Compare the artifacts below the multirun's folder, where there are several."""
        if config.hydra.runtime.choices.get("hydra/sweeper") == "optuna":
            return
        from chirplet.artifact import RECORD

        folder = Path(config.hydra.sweep.dir)
        if len(list(folder.glob(f"**/artifact/{RECORD}"))) > 1:
            _compare(config, folder)


def _compare(config: DictConfig, folder: Path) -> None:
    from hydra import compose

    from chirplet.console import console
    from chirplet.experiment import execute, unswept
    from chirplet.explain import explain
    from chirplet.sweep.composing import quoted

    pattern = quoted(f"{folder}/**/artifact")
    overrides = [*unswept(config.hydra.overrides.task), "stage=compare", f"artifacts={pattern}"]
    try:
        execute(compose(config.hydra.job.config_name, overrides=overrides), folder, overrides)
    except Exception as error:
        # The runs are done, and their artifacts stay; Hydra would tell this in a warning of several lines.
        told = explain(error)
        if told is None:
            raise
        console(stderr=True).print(f"not compared: {told[0]}")
