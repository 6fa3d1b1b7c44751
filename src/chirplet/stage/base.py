"""What a stage is."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from chirplet.config.roles import Role, keys_with
from chirplet.config.schema import Settings
from chirplet.model.loading.blueprint import Blueprint
from chirplet.stage.run.context import Run


class Stage(Settings, ABC):
    """Settings of one stage. `run` imports heavy libraries, does the work and prints where the result is."""

    extra: ClassVar[str | None] = "train"
    """The extra of chirplet that its work needs; None if it needs none."""
    makes_artifact: ClassVar[bool] = False
    """Whether a run of it writes one artifact."""
    reads_data: ClassVar[bool] = True
    """Whether it needs the data, which for an artifact are those of its record."""
    also_takes: ClassVar[tuple[str, ...]] = ()
    """Keys that only some stages use (`Role.BY_STAGE`), without a field here, that this stage uses."""

    def ignores(self) -> set[str]:
        """Keys of the whole configuration that change nothing here."""
        return {key for key in keys_with(Role.BY_STAGE) if not self.takes(key)}

    def takes(self, key: str) -> bool:
        """Whether a key of the whole configuration that only some stages use is used here."""
        return key in type(self).model_fields or key in self.also_takes

    def recorded_settings(self, *without: str) -> dict[str, Any]:
        """The stage's settings for the record: none that is local, nor those named."""
        return self.model_dump(exclude={*keys_with(Role.LOCAL), *without})

    def check_model(self, parents: Sequence[Blueprint]) -> Blueprint:
        """Check that the stage supports the models that it starts from, before they have weights.

        Args:
            parents: the base model of `finetune`, the teachers of `distill`, the artifact of other stages.

        Returns:
            The blueprint of the model that the stage makes.

        Raises:
            UserError: it does not support one; says what works instead.
        """
        return parents[0]

    @abstractmethod
    def run(self, run: Run) -> float | None:
        """Carry the stage out.

        Returns:
            The value of `run.objective`, for a sweep, where the stage has one.
        """


CostAccelerator = Literal["trainer", "cpu"]
"""Where speed is measured: on the CPU, and with `trainer` also on the GPU where the run computes."""


class MeasuringStage(Stage, ABC):
    """A stage that makes a model, and may measure its size and speed."""

    makes_artifact = True
    also_takes: ClassVar[tuple[str, ...]] = ("task",)

    measure_cost: bool
    cost_accelerator: CostAccelerator

    def cost_on(self, run: Run) -> str | None:
        """The accelerator on which speed is measured beside the CPU; None if it is not."""
        if not self.measure_cost:
            return None
        return run.trainer.accelerator if self.cost_accelerator == "trainer" else "cpu"
