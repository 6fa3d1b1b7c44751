"""What a stage is."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

from chirplet.config.roles import Role, keys_with
from chirplet.config.schema import Settings
from chirplet.model.loading.blueprint import Blueprint, blueprint_of
from chirplet.stage.run.context import Run
from chirplet.system.atomic_io import check_space
from chirplet.system.cache_files import check_cache

FP32_BYTES = 4


class Stage(Settings, ABC):
    """Settings of one stage. `run` imports heavy libraries, does the work and prints where the result is."""

    extra: ClassVar[str | None] = "train"
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

    def parts(self, run: Run) -> Iterator[Settings]:
        """The parts of the configuration that it uses."""
        yield self

    def check_parts(self, run: Run) -> None:
        """Check that what the parts of the configuration need is here; cheap.

        Raises:
            UserError: something is missing; says what to do.
        """
        for part in self.parts(run):
            part.check_needs()

    def check(self, run: Run) -> None:
        """Check that whatever the run needs besides its configuration is here, before any work.

        Raises:
            UserError: something is missing; says what to do.
        """
        self.check_parts(run)

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

    def parts(self, run: Run) -> Iterator[Settings]:
        yield from (self, run.trainer, run.data, *run.loggers.values(), *run.callbacks.values())
        if self.takes("model"):
            yield run.model

    def check(self, run: Run) -> None:
        """Check the parts of the run, the models that it starts from, and the space on the disk."""
        self.check_parts(run)
        self.check_start(run, self.parents(run))

    def check_start(self, run: Run, parents: Sequence[Blueprint]) -> Blueprint:
        """Check the models that the run starts from, its folders, and the space on the disk.

        A chain checks its steps with the models of earlier ones, which are not made yet.

        Returns:
            The blueprint of the model that the stage makes.

        Raises:
            UserError: the stage does not support a model, a folder cannot be written, or the disk is too full.
        """
        made = self.check_model(parents)
        check_cache(run.cache_dir)
        check_space(run.output_dir, self.writes(run, made), "hydra.run.dir")
        return made

    def parents(self, run: Run) -> list[Blueprint]:
        """The models that it starts from: the base model, or the artifacts of stages that have parents.

        Raises:
            UserError: one is not here, damaged or not supported.
        """
        return [blueprint_of(run.model)]

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

    def writes(self, run: Run, model: Blueprint) -> int:
        """Bytes that the run writes to its folder at least; `model` is what it makes."""
        return FP32_BYTES * model.parameters()

    def cost_on(self, run: Run) -> str | None:
        """The accelerator on which speed is measured beside the CPU; None if it is not."""
        if not self.measure_cost:
            return None
        return run.trainer.accelerator if self.cost_accelerator == "trainer" else "cpu"
