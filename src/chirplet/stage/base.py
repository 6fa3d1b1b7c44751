"""What a stage is."""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from chirplet.config.schema import Settings
from chirplet.stage.run.context import Run

SOURCES = (
    *("model", "artifact", "artifacts", "baseline", "teacher", "student", "unlabeled_files", "input", "output"),
    *("distiller", "pruner", "quantizer", "task"),
)
"""Keys of the whole configuration that some stages take and others do not."""


class Stage(Settings, ABC):
    """Settings of one stage. `run` imports what is heavy, does the work and tells the user where the result is."""

    makes_artifact: ClassVar[bool] = False
    """Whether a run of it writes one artifact."""
    also_takes: ClassVar[tuple[str, ...]] = ()
    """Of `SOURCES`, those that are no settings of its own."""

    def ignores(self) -> set[str]:
        """Keys of the whole configuration that change nothing here: of `SOURCES`, and what else is easily mistaken."""
        return set(SOURCES) - set(type(self).model_fields) - set(self.also_takes)

    @abstractmethod
    def run(self, run: Run) -> float | None:
        """Carry the stage out.

        Returns:
            The value of `run.objective`, for a sweep, where the stage has one.
        """


CostAccelerator = Literal["trainer", "cpu"]
"""Where speed is measured: where the run computes, or on the CPU."""


class MeasuringStage(Stage, ABC):
    """A stage that makes a model, and may measure its size and speed."""

    makes_artifact = True
    also_takes: ClassVar[tuple[str, ...]] = ("task",)

    measure_cost: bool
    cost_accelerator: CostAccelerator

    def cost_on(self, run: Run) -> str | None:
        """The accelerator that speed is measured on, None where it is not."""
        if not self.measure_cost:
            return None
        return run.trainer.accelerator if self.cost_accelerator == "trainer" else "cpu"
